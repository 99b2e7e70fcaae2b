"""What signatures say, and what they must not say otherwise."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.image.trust.payload import SIGSTORE, SIMPLE, Claim, read_claim
from crio.image.trust.rejection import Rejection
from trust_bed import cosign_payload, simple_payload

DIGEST = "sha256:" + "a" * 64


def test_both_formats() -> None:
    assert read_claim(simple_payload(DIGEST, "a.b/c:1"), SIMPLE) == Claim(DIGEST, "a.b/c:1")  # type: ignore[arg-type]
    assert read_claim(cosign_payload(DIGEST, "a.b/c"), SIGSTORE).name == "a.b/c"
    with pytest.raises(Rejection, match="its type is"):
        read_claim(simple_payload(DIGEST, "a.b/c:1"), SIGSTORE)
    with pytest.raises(Rejection, match="its type is"):
        read_claim(cosign_payload(DIGEST, "a.b/c:1"), SIMPLE)


def changed(**fields: Any) -> bytes:
    value = json.loads(simple_payload(DIGEST, "a.b/c:1"))
    for path, content in fields.items():
        *parents, key = path.split("__")
        target = value
        for parent in parents:
            target = target[parent]
        target[key] = content
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{}", changed(more=1), changed(critical__more=1), changed(critical__image__more="x"),
        changed(critical__identity={}), changed(critical__image={"docker-manifest-digest": "md5:1"}),
        changed(optional=None), changed(optional={"timestamp": 1.5}), changed(optional={"creator": 1}),
        changed(optional={"timestamp": True}), b'{"critical":{},"critical":{},"optional":{}}',
        changed(optional={"timestamp": 1.5}).replace(b"1.5", b"1e999"),
    ],
)  # fmt: skip
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(Rejection, match="its payload cannot be used"):
        read_claim(data, SIMPLE)


def test_free_notes_are_allowed() -> None:
    assert read_claim(changed(optional={"note": {"a": [1]}, "timestamp": 5.0}), SIMPLE).digest == DIGEST


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_payload(data: bytes) -> None:
    with pytest.raises(Rejection):
        read_claim(data, SIMPLE)
