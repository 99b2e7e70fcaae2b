from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.image.registry.challenge import Challenge, parse_challenges


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        ("Basic realm=plain", [Challenge("basic", {"realm": "plain"})]),
        ('BASIC Realm = "a \\"quoted\\" one"', [Challenge("basic", {"realm": 'a "quoted" one'})]),
        (
            'Basic realm="x", Bearer realm="y",service=z',
            [Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "y", "service": "z"})],
        ),
        ("Negotiate", [Challenge("negotiate")]),
        ("Negotiate abc123==, Basic realm=x", [Challenge("negotiate"), Challenge("basic", {"realm": "x"})]),
        ('Bearer realm=https://a.b/c?d=e,x="s"', [Challenge("bearer", {"realm": "https://a.b/c?d=e", "x": "s"})]),
        ("", []),
        (" , ", []),
        ("\x00", []),
    ],
)  # fmt: skip
def test_forms(value: str, expected: list[Challenge]) -> None:
    assert parse_challenges([value]) == expected


def test_several_headers() -> None:
    found = parse_challenges(["Basic realm=a", "Bearer realm=b"])
    assert [challenge.scheme for challenge in found] == ["basic", "bearer"]


def test_long_values_are_cut() -> None:
    assert len(parse_challenges(["Basic realm=a, " * 100_000])) < 2000


@given(st.lists(st.text(max_size=200), max_size=3))
def test_any_text_is_read(values: list[str]) -> None:
    for challenge in parse_challenges(values):
        assert challenge.scheme
