from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.base.errors import InvalidArgument
from crio.wire import reference
from crio.wire.reference import Reference

SHA = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("busybox", "docker.io/library/busybox"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        (f"busybox@{SHA}", f"docker.io/library/busybox@{SHA}"),
        (f"busybox:1.36@{SHA}", f"docker.io/library/busybox:1.36@{SHA}"),
        ("user/app", "docker.io/user/app"),
        ("docker.io/busybox", "docker.io/library/busybox"),
        ("index.docker.io/busybox:x", "docker.io/library/busybox:x"),
        ("localhost/app", "localhost/app"),
        ("localhost:5000/app:1", "localhost:5000/app:1"),
        ("registry.k8s.io/e2e-test-images/agnhost:2.45", "registry.k8s.io/e2e-test-images/agnhost:2.45"),
        ("[::1]:5000/a/b", "[::1]:5000/a/b"),
        ("127.0.0.1:5000/a__b/c-d.e--f", "127.0.0.1:5000/a__b/c-d.e--f"),
        ("Upper/app", "Upper/app"),
        ("a/" + "b" * 250, "docker.io/a/" + "b" * 250),
    ],
)
def test_normal_form(text: str, full: str) -> None:
    assert str(reference.parse(text)) == full


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":tag",
        "Busybox",
        "example.com/App",
        "a b",
        "busybox:",
        "busybox:-x",
        "busybox:" + "x" * 129,
        "busybox@sha256:abc",
        "busybox@md5:" + "a" * 32,
        "a" * 64,
        "f" * 300,
        "example.com/",
        "/busybox",
        "a//b",
        "a/../b",
        "a/./b",
        "-x.com/a",
        "example.com:port/a",
        "x" * 5000,
        "busybox\n",
        "a@b@" + SHA,
        "http://example.com/a",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        reference.parse(text)


def test_upper_case_is_named_as_the_reason() -> None:
    with pytest.raises(InvalidArgument, match="lower-case"):
        reference.parse("example.com/App:1")


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("busybox", True),
        ("a/b:1", True),
        ("localhost/a", False),
        ("x.y/a", False),
        ("x:1/a", False),
        (f"a@{SHA}", True),
        ("localhost", True),
    ],
)
def test_short_names(text: str, short: bool) -> None:
    assert reference.is_short_name(text) is short


def test_forms() -> None:
    both = reference.parse(f"example.com/a:1@{SHA}")
    assert str(both.canonical()) == f"example.com/a@{SHA}"
    assert both.target == SHA
    assert str(reference.parse("example.com/a").canonical()) == "example.com/a:latest"
    assert reference.parse("example.com/a").target == "latest"
    assert both.repository == "example.com/a"
    assert both.with_default_tag() is both


@given(st.text(max_size=300))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parsed = reference.parse(text)
    except InvalidArgument:
        return
    assert reference.parse(str(parsed)) == parsed


_part = st.from_regex(r"\A[a-z0-9]{1,8}([._-][a-z0-9]{1,4})?\Z")


@given(
    st.from_regex(r"\A[a-z0-9]{1,8}\.[a-z]{2,3}(:[0-9]{1,5})?\Z"),
    st.lists(_part, min_size=1, max_size=4),
    st.none() | st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}\Z"),
    st.booleans(),
)
def test_valid_references_survive(domain: str, parts: list[str], tag: str | None, digest: bool) -> None:
    text = f"{domain}/{'/'.join(parts)}" + (f":{tag}" if tag else "") + (f"@{SHA}" if digest else "")
    parsed = reference.parse(text)
    assert parsed.tag == tag
    assert parsed.digest == (SHA if digest else None)
    assert isinstance(parsed, Reference)
    assert parsed.domain == domain
