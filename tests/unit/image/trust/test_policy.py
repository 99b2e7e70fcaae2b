"""policy.json: the narrowest scope counts, and what cannot be verified is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from crio.base.errors import InvalidArgument
from crio.image.errors import SignatureValidationFailed
from crio.image.trust.policy import Policies, parse
from crio.wire import reference

ACCEPT = [{"type": "insecureAcceptAnything"}]
REJECT = [{"type": "reject"}]
SIGNED = [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/key"}]


def accepts(scopes: Mapping[str, object], name: str, default: object = REJECT) -> bool:
    policy = parse(json.dumps({"default": default, "transports": {"docker": scopes}}).encode(), "policy.json")
    try:
        policy.check(reference.parse(name).with_default_tag())
    except SignatureValidationFailed:
        return False
    return True


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


def test_what_cannot_be_verified_is_refused() -> None:
    policy = parse(json.dumps({"default": SIGNED}).encode(), "policy.json")
    with pytest.raises(SignatureValidationFailed, match="asks for signedBy"):
        policy.check(reference.parse("busybox"))
    assert not accepts({"docker.io": []}, "busybox")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"default": [{"type": "maybe"}]}', '{"default": [{}]}'])
def test_a_malformed_policy_is_told(text: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot use the signature policy"):
        parse(text.encode(), "policy.json")


def test_files_by_namespace_and_their_changes(tmp_path: Path) -> None:
    names = [reference.parse("busybox")]
    (tmp_path / "policy.json").write_text(json.dumps({"default": REJECT}))
    (tmp_path / "ours.json").write_text(json.dumps({"default": ACCEPT}))
    policies = Policies(str(tmp_path / "policy.json"), str(tmp_path))
    policies.check(names, "ours")
    with pytest.raises(SignatureValidationFailed, match="rejects it"):
        policies.check(names, "theirs")
    (tmp_path / "policy.json").write_text(json.dumps({"default": ACCEPT}) + " ")
    policies.check(names, "theirs")
    with pytest.raises(SignatureValidationFailed, match="does not exist"):
        Policies(str(tmp_path / "missing.json"), "").check(names, "")


def test_local_images_have_scopes_by_transport() -> None:
    policy = parse(json.dumps({"default": REJECT, "transports": {"oci": {"": ACCEPT}}}).encode(), "policy.json")
    policy.check_local("oci", "oci:/layout")
    with pytest.raises(SignatureValidationFailed, match="docker-archive:/file"):
        policy.check_local("docker-archive", "docker-archive:/file")
