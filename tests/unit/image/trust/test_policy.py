"""policy.json: the narrowest scope counts, and a file with anything unknown in it is no policy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from crio.base.errors import InvalidArgument
from crio.image.errors import SignatureValidationFailed
from crio.image.trust.policy import Policies, Policy, need_signatures, parse, references, stamp_of_keys
from crio.image.trust.requirements import Accept, Reject
from crio.wire import reference

ACCEPT = [{"type": "insecureAcceptAnything"}]
REJECT = [{"type": "reject"}]
SIGNED: dict[str, Any] = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/key"}


def policy(document: object) -> Policy:
    return parse(json.dumps(document).encode(), "policy.json")


def accepts(scopes: Mapping[str, object], name: str, default: object = REJECT) -> bool:
    it = policy({"default": default, "transports": {"docker": scopes}})
    return it.requirements(reference.parse(name).with_default_tag()) == (Accept(),)


@pytest.mark.parametrize(
    ("scope", "name", "expected"),
    [
        ("docker.io/library/busybox:latest", "busybox", True),
        ("docker.io/library/busybox:1", "busybox:2", False),
        ("docker.io/library/busybox", "busybox:2", True),
        ("docker.io/library", "busybox", True),
        ("docker.io", "busybox", True),
        ("docker.io/lib", "busybox", False),
        ("*.example.com", "a.b.example.com/x", True),
        ("*.b.example.com", "a.b.example.com/x", True),
        ("*.example.com", "a.example.com:5000/x", True),
        ("*.example.com", "example.com/x", False),
        ("registry:5000", "registry:5000/x", True),
        ("registry", "registry:5000/x", False),
        ("", "anything.example/x", True),
    ],
)
def test_scopes(scope: str, name: str, expected: bool) -> None:
    assert accepts({scope: ACCEPT}, name) is expected
    assert accepts({scope: REJECT}, name, default=ACCEPT) is not expected


def test_the_narrowest_scope_counts() -> None:
    scopes = {"docker.io": REJECT, "docker.io/library": ACCEPT, "docker.io/library/busybox": REJECT}
    assert not accepts(scopes, "busybox")
    assert accepts(scopes, "alpine")
    assert not accepts(scopes, "docker.io/other/image")


def test_an_image_without_a_name_is_judged_by_the_widest_scope() -> None:
    it = policy({"default": REJECT, "transports": {"docker": {"": ACCEPT, "docker.io": REJECT}}})
    assert it.requirements(None) == (Accept(),)
    assert policy({"default": REJECT, "transports": {"docker": {"docker.io": ACCEPT}}}).requirements(None) == (
        Reject(),
    )


def test_what_needs_signatures() -> None:
    it = policy({"default": [SIGNED, *ACCEPT]})
    assert need_signatures(it.default, "x")
    assert not need_signatures(policy({"default": ACCEPT}).default, "x")
    with pytest.raises(SignatureValidationFailed, match="rejects it"):
        need_signatures(policy({"default": [SIGNED, *REJECT]}).default, "x")
    base = {"type": "signedBaseLayer", "baseLayerIdentity": {"type": "matchRepository"}}
    with pytest.raises(SignatureValidationFailed, match="signedBaseLayer"):
        need_signatures(policy({"default": [base]}).default, "x")


FULCIO = {"caPath": "/ca", "oidcIssuer": "https://issuer", "subjectEmail": "me@example.com"}
PKI = {"caRootsPath": "/ca", "subjectEmail": "me@example.com"}


def sigstore(**fields: object) -> dict[str, object]:
    return {"type": "sigstoreSigned", **fields}


@pytest.mark.parametrize(
    "requirement",
    [
        SIGNED,
        {**SIGNED, "signedIdentity": {"type": "remapIdentity", "prefix": "mirror:5000/a", "signedPrefix": "docker.io"}},
        {"type": "signedBy", "keyType": "GPGKeys", "keyPaths": ["/a", "/b"], "signedIdentity": {"type": "matchExact"}},
        {"type": "signedBy", "keyType": "signedByGPGKeys", "keyData": "aGVsbG8="},
        {**SIGNED, "signedIdentity": {"type": "exactReference", "dockerReference": "busybox:1"}},
        {**SIGNED, "signedIdentity": {"type": "exactRepository", "dockerRepository": "busybox"}},
        sigstore(keyPath="/key"),
        sigstore(keyDatas=["aGVsbG8=", "aGVsbG8="], rekorPublicKeyPaths=["/a"]),
        sigstore(fulcio=FULCIO, rekorPublicKeyData="aGVsbG8="),
        sigstore(pki=PKI, signedIdentity={"type": "matchRepoDigestOrExact"}),
        sigstore(pki={"caRootsData": "aGVsbG8=", "caIntermediatesPath": "/b", "subjectHostname": "a.example"}),
    ],
)
def test_requirements_that_can_be_met(requirement: object) -> None:
    assert need_signatures(policy({"default": [requirement]}).default, "x")


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"default": []}', '{"default": [{"type": "maybe"}]}', '{"default": [{}]}',
        '{"default": [{"type": "reject"}], "other": 1}',
        '{"default": [{"type": "reject"}], "default": [{"type": "insecureAcceptAnything"}]}',
        '{"default": [{"type": "insecureAcceptAnything", "keyPath": "/key"}]}',
        '{"default": [{"type": "reject"}], "transports": {"docker": {"a.example": []}}}',
        '{"default": [{"type": "reject"}], "transports": {"oci": {"relative": [{"type": "reject"}]}}}',
        '{"default": [{"type": "reject"}], "transports": {"dir": {"/": [{"type": "reject"}]}}}',
        '{"default": [{"type": "reject"}], "transports": {"docker-archive": {"/a": [{"type": "reject"}]}}}',
        '{"default": NaN}', "[" * 5000,
    ],
)  # fmt: skip
def test_a_malformed_policy_is_told(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"cannot use the signature policy policy\.json"):
        parse(text.encode(), "policy.json")


@pytest.mark.parametrize(
    ("requirement", "reason"),
    [
        ({"type": "signedBy", "keyType": "GPGKeys"}, "exactly one of keyPath, keyPaths, keyData"),
        ({**SIGNED, "keyData": "aGVsbG8="}, "exactly one"),
        ({**SIGNED, "keyType": "SSHKeys"}, "SSHKeys"),
        ({**SIGNED, "keyPath": ""}, "keyPath is empty"),
        ({**SIGNED, "keyPaths": []}, "keyPaths is empty"),
        ({**SIGNED, "keyPath": None, "keyData": "!"}, "base64"),
        ({**SIGNED, "signedIdentity": {"type": "matchEverything"}}, "matchEverything"),
        ({**SIGNED, "signedIdentity": {"type": "matchExact", "prefix": "a"}}, "prefix"),
        ({**SIGNED, "signedIdentity": {"type": "exactReference", "dockerReference": "busybox"}}, "neither a tag"),
        ({**SIGNED, "signedIdentity": {"type": "exactRepository", "dockerRepository": "UPPER"}}, "dockerRepository"),
        ({**SIGNED, "signedIdentity": {"type": "remapIdentity", "prefix": "", "signedPrefix": "a"}}, "no prefix"),
        (sigstore(), "exactly one of keyPath"),
        (sigstore(keyPath="/a", pki=PKI), "exactly one"),
        (sigstore(keyDatas=[]), "keyDatas is empty"),
        (sigstore(fulcio=FULCIO), "needs one of rekorPublicKeyPath"),
        (sigstore(fulcio={**FULCIO, "caData": "aGVsbG8="}, rekorPublicKeyPath="/a"), "exactly one of caPath"),
        (sigstore(fulcio={**FULCIO, "oidcIssuer": ""}, rekorPublicKeyPath="/a"), "needs oidcIssuer"),
        (sigstore(pki=PKI, rekorPublicKeyPath="/a"), "together with a Rekor key"),
        (sigstore(pki={"caRootsPath": "/a"}), "subjectEmail or subjectHostname"),
        (sigstore(pki={"subjectEmail": "a@b"}), "exactly one of caRootsPath"),
        (sigstore(keyPath="/a", rekorPublicKeyPath="/a", rekorPublicKeyData="aGVsbG8="), "no more than one"),
        ({"type": "signedBaseLayer"}, "baseLayerIdentity"),
    ],
)
def test_a_requirement_that_contradicts_itself_is_told(requirement: object, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        policy({"default": [requirement]})


def test_files_by_namespace_and_their_changes(tmp_path: Path) -> None:
    names = [reference.parse("busybox")]
    (tmp_path / "policy.json").write_text(json.dumps({"default": REJECT}))
    (tmp_path / "ours.json").write_text(json.dumps({"default": ACCEPT}))
    policies = Policies(str(tmp_path / "policy.json"), str(tmp_path))
    policies.refuse_early(names, "ours")
    with pytest.raises(SignatureValidationFailed, match="rejects it"):
        policies.refuse_early(names, "theirs")
    with pytest.raises(SignatureValidationFailed, match="rejects it"):
        policies.refuse_early(names, "../ours")
    first = policies.find("theirs")
    assert policies.find("") is first
    (tmp_path / "policy.json").write_text(json.dumps({"default": ACCEPT}) + " ")
    assert policies.find("") is not first
    policies.refuse_early(names, "theirs")
    with pytest.raises(SignatureValidationFailed, match="does not exist"):
        Policies(str(tmp_path / "missing.json"), "").refuse_early(names, "")


def test_one_accepted_candidate_suffices_early(tmp_path: Path) -> None:
    document = {"default": REJECT, "transports": {"docker": {"b.example": [SIGNED]}}}
    (tmp_path / "policy.json").write_text(json.dumps(document))
    policies = Policies(str(tmp_path / "policy.json"), "")
    policies.refuse_early(references(["a.example/x:1", "b.example/x:1"]), "")
    with pytest.raises(SignatureValidationFailed, match=r"a\.example/x:1"):
        policies.refuse_early(references(["a.example/x:1", "not a name"]), "")


def test_local_images_have_scopes_by_path(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    it = policy({"default": REJECT, "transports": {"oci": {str(tmp_path / "real"): ACCEPT}, "dir": {"": ACCEPT}}})
    assert it.requirements_of_file("oci", str(tmp_path / "link" / "layout")) == (Accept(),)
    assert it.requirements_of_file("oci", str(tmp_path)) == (Reject(),)
    assert it.requirements_of_file("dir", "/anywhere") == (Accept(),)
    assert it.requirements_of_file("docker-archive", "/anywhere") == (Reject(),)


def test_a_key_that_changes_changes_the_stamp(tmp_path: Path) -> None:
    key = tmp_path / "key"
    requirements = policy({"default": [{**SIGNED, "keyPath": str(key)}]}).default
    absent = stamp_of_keys(requirements)
    key.write_text("one")
    first = stamp_of_keys(requirements)
    key.write_text("another")
    assert len({absent, first, stamp_of_keys(requirements)}) == 3
