"""Signatures as blobs and as the store keeps them; the forms are those of other tools."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.base.errors import DataLoss
from crio.base.ids import Digest
from crio.image.trust.signatures import (
    SigstoreSignature,
    SimpleSignature,
    Unreadable,
    big_data,
    from_blob,
    joined,
    metadata,
    pack,
    stored,
    to_blob,
    unpack,
)

ONE, TWO = Digest("sha256:" + "1" * 64), Digest("sha256:" + "2" * 64)
SIMPLE = SimpleSignature(b"\xa3an openpgp message")
SIGSTORE = SigstoreSignature("application/vnd.dev.cosign.simplesigning.v1+json", b"{}", {"a": "b"})


def test_blobs() -> None:
    assert to_blob(SIMPLE) == SIMPLE.data
    blob = to_blob(SIGSTORE)
    assert blob.startswith(b"\0sigstore-json\n")
    assert json.loads(blob.partition(b"\n")[2]) == {
        "mimeType": SIGSTORE.mime_type, "payload": "e30=", "annotations": {"a": "b"}
    }  # fmt: skip
    for signature in (SIMPLE, SIGSTORE):
        assert from_blob(to_blob(signature)) == signature
    assert from_blob(b"\0simple-signing\nx") == SimpleSignature(b"x")


@pytest.mark.parametrize(
    "blob", [b"", b"-----BEGIN", b"\0", b"\0sigstore-json", b"\0other\n{}", b"\0sigstore-json\n[]"]
)
def test_what_is_no_signature(blob: bytes) -> None:
    with pytest.raises(Unreadable):
        from_blob(blob)


def test_in_the_store() -> None:
    data = big_data([SIMPLE, SIGSTORE], ONE)
    assert set(data) == {"signatures", f"signature-{'1' * 64}"}
    text = metadata([SIMPLE, SIGSTORE], ONE, "")
    sizes = [len(to_blob(SIMPLE)), len(to_blob(SIGSTORE))]
    assert json.loads(text) == {"signature-sizes": sizes, "signatures-sizes": {ONE: sizes}}
    assert stored(text, list(data), data.__getitem__) == {ONE: [SIMPLE, SIGSTORE]}

    # Another manifest of the same image, without signatures, takes away none.
    other = metadata([], TWO, text)
    assert json.loads(other) == {"signatures-sizes": {ONE: sizes, TWO: []}}
    assert stored(other, list(data), data.__getitem__) == {ONE: [SIMPLE, SIGSTORE]}
    assert big_data([], TWO) == {f"signature-{'2' * 64}": b""}


@pytest.mark.parametrize("text", ["", "{}", '{"signatures-sizes":null}', '{"other":1}'])
def test_images_without_signatures(text: str) -> None:
    assert stored(text, [f"signature-{'1' * 64}"], lambda key: b"") == {}


def test_what_does_not_fit_together() -> None:
    data = big_data([SIMPLE], ONE)
    key = f"signature-{'1' * 64}"
    for sizes in ([1], [len(SIMPLE.data), 1], [-1, 20], [1] * 200):
        text = json.dumps({"signatures-sizes": {ONE: sizes}})
        with pytest.raises(DataLoss):
            stored(text, [key], data.__getitem__)
    with pytest.raises(DataLoss):
        stored("[", [key], data.__getitem__)


def test_joined_and_packed() -> None:
    assert joined([SIGSTORE], [SIMPLE, SIGSTORE]) == [SIGSTORE, SIMPLE]
    assert unpack(pack([SIMPLE, SIGSTORE])) == [SIMPLE, SIGSTORE]
    with pytest.raises(DataLoss):
        unpack(b'["YQ=="]')


@given(st.binary(max_size=200))
def test_any_blob(data: bytes) -> None:
    for blob in (data, b"\0sigstore-json\n" + data):
        try:
            signature = from_blob(blob)
        except Unreadable:
            continue
        assert from_blob(to_blob(signature)) == signature
