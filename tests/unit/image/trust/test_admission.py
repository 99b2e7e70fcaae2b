"""What comes in: with its signatures where they can be had, and not at all where they are needed and cannot."""

from __future__ import annotations

import json
import logging

import pytest

from crio.base.errors import Cancelled
from crio.base.ids import Digest
from crio.image.cancellation import Cancellation
from crio.image.errors import RegistryUnavailable, SignatureValidationFailed
from crio.image.registry.client import RegistryClient
from crio.image.registry.http import HttpClient
from crio.image.registry.proxy import proxies_of
from crio.image.registry.tls import TlsContexts
from crio.image.trust.admission import Admission, in_registry
from crio.image.trust.policy import Requirements, parse
from crio.image.trust.registries_d import Section, SignaturePlaces
from crio.image.trust.signatures import Signature, SigstoreSignature, SimpleSignature
from crio.wire import reference

DIGEST = Digest("sha256:" + "a" * 64)
NAME = reference.parse("a.example/app:1")
SIMPLE = SimpleSignature(b"\xa3x")


def requirements(*values: object) -> Requirements:
    return parse(json.dumps({"default": values}).encode(), "policy.json").default


ACCEPT = requirements({"type": "insecureAcceptAnything"})
SIGNED = requirements({"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/nonexistent"})
REJECT = requirements({"type": "reject"})


def failing(digest: Digest) -> list[Signature]:
    raise RegistryUnavailable("cannot get it")


def cancelled(digest: Digest) -> list[Signature]:
    raise Cancelled("it was cancelled")


def test_signatures_are_handed_on_though_nobody_asks() -> None:
    assert Admission(ACCEPT, NAME, "x", lambda digest: [SIMPLE]).admit(b"m", DIGEST) == [SIMPLE]
    assert Admission((), NAME, "x", lambda digest: [SIMPLE]).admit(b"m", DIGEST) == [SIMPLE]


def test_what_cannot_be_had(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert Admission(ACCEPT, NAME, "the image", failing).admit(b"m", DIGEST) == ()
    assert "the image is stored without its signatures" in caplog.text
    with pytest.raises(RegistryUnavailable):
        Admission(SIGNED, NAME, "x", failing).admit(b"m", DIGEST)
    with pytest.raises(Cancelled):
        Admission(ACCEPT, NAME, "x", cancelled).admit(b"m", DIGEST)


def test_nothing_is_asked_for_what_is_refused_anyway() -> None:
    with pytest.raises(SignatureValidationFailed, match="rejects"):
        Admission(REJECT, NAME, "x", cancelled).admit(b"m", DIGEST)


class Client(RegistryClient):
    """Only what is asked of it here."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def signature_list(self, digest: Digest) -> bytes | None:
        self.asked.append("list")
        return b'{"signatures":[{"schemaVersion":2,"type":"atomic","content":"o3g="}]}'


def test_places(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("lookaside")
    attached = SigstoreSignature("x", b"{}")
    monkeypatch.setattr("crio.image.trust.attached.read", lambda client, digest, what: [attached])
    http = HttpClient(TlsContexts(), proxies_of({}))

    def find(section: Section, wanted: Requirements, client: Client) -> list[Signature]:
        places = SignaturePlaces({"a.example": section})
        return in_registry(client, NAME, places, wanted, http, Cancellation())(DIGEST)

    empty = Section(lookaside=f"file://{place}")
    client = Client()
    assert find(empty, ACCEPT, client) == []
    assert client.asked == []
    assert find(empty, SIGNED, client) == [SIMPLE]
    assert client.asked == ["list"]
    both = Section(lookaside=f"file://{place}", use_sigstore_attachments=True)
    assert find(both, ACCEPT, Client()) == [attached]
    directory = place / f"app@sha256={'a' * 64}"
    directory.mkdir()
    (directory / "signature-1").write_bytes(b"\xa3file")
    client = Client()
    assert find(both, SIGNED, client) == [SimpleSignature(b"\xa3file"), attached]
    assert client.asked == []
