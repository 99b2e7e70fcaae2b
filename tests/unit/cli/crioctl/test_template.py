from __future__ import annotations

from typing import Any

import pytest

from crio.base.errors import InvalidArgument
from crio.cli.crioctl.template import expand

DATA: dict[str, Any] = {
    "status": {"id": "abc", "metadata": {"name": "Web one"}, "labels": {"b": "2", "a": "1"}, "ready": True},
    "items": [{"id": "x", "n": 1}, {"id": "y", "n": 2}],
    "empty": [],
    "none": None,
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{.status.id}}", "abc"),
        ("id={{ .status.id }};", "id=abc;"),
        ("{{range .items}}{{.id}},{{end}}", "x,y,"),
        ("{{range .empty}}a{{else}}none{{end}}", "none"),
        ("{{range .status.labels}}{{.}}{{end}}", "12"),
        ("{{if .status.ready}}yes{{else}}no{{end}}", "yes"),
        ("{{if not .status.ready}}yes{{else}}no{{end}}", "no"),
        ("{{with .status}}{{.id}}{{end}}", "abc"),
        ("{{range .items}}{{$.status.id}}{{end}}", "abcabc"),
        ('{{index .items 1 "id"}}', "y"),
        ("{{(index .items 1).id}}", "y"),
        ("{{json .status.labels}}", '{"a": "1", "b": "2"}'),
        ("{{.status.metadata.name | upper}}", "WEB ONE"),
        ("{{title (lower .status.metadata.name)}}", "Web One"),
        ("{{len .items}}", "2"),
        ('{{if eq .status.id "abc" "def"}}1{{end}}', "1"),
        ('{{if and .status.ready (ne .status.id "x")}}1{{end}}', "1"),
        ("{{if or .none .empty}}1{{else}}2{{end}}", "2"),
        ("{{.status.labels}}", "map[a:1 b:2]"),
        ("{{.items}}", "[map[id:x n:1] map[id:y n:2]]"),
        ("{{.status.ready}} {{.none}}", "true <no value>"),
        ("a \n {{- .status.id -}} \n b", "aabcb"),
        ("x{{/* a comment */}}y", "xy"),
        ('{{"quoted \\" | {{"}}', 'quoted " | {{'),
        ("{{`raw`}}", "raw"),
        ('{{println "a" 1}}', "a 1\n"),
        # the short form
        ("{.status.id}", "abc"),
        ("{status.id}", "abc"),
        ("{.items[0].id}", "x"),
        ("{.items[*].id}", "x y"),
        ("{.status.labels['b']}", "2"),
        ("{.status.labels}", '{"b": "2", "a": "1"}'),
        ("{.status.id}\\t{.items[1].n}\\n", "abc\t2\n"),
        ("{.none}", ""),
    ],
)
def test_expand(template: str, expected: str) -> None:
    assert expand(template, DATA) == expected


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{.status.nme}}", "no field 'nme'; it has id, labels, metadata, ready"),
        ("{.items[7].id}", "no field '7'"),
        ("{{.status.id", "is not closed"),
        ("{{range .items}}", "has no {{end}}"),
        ("{{end}}", "without a block"),
        ("{{else}}", "without a block"),
        ("{{if .a}}x{{else if .b}}y{{end}}", "not supported"),
        ("{{printf .a}}", "no function 'printf'"),
        ("{{len .status.ready}}", "does not work on"),
        ("{{json}}", "got 0 arguments"),
        ("{{(.status.id}}", "not closed"),
        ("{{.status.id)}}", "too many"),
        ("{{.status.id .items}}", "a value was expected"),
        ("{{}}", "is not understood"),
        (r'{{index .status "\q"}}', r'"\q" is no text'),
        ("{.items[}", "is not a field or an index"),
        ("{{if .status}}" * 60 + "{{end}}" * 60, "more than 50 blocks"),
    ],
)
def test_mistakes(template: str, reason: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        expand(template, DATA)
    assert reason in caught.value.message
