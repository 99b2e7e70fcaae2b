from __future__ import annotations

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import FailedPrecondition, InvalidArgument
from crio.security import apparmor

PROFILE = pb.SecurityProfile


def context(kind: pb.SecurityProfile.ProfileType.ValueType, reference: str = "") -> pb.LinuxContainerSecurityContext:
    return pb.LinuxContainerSecurityContext(apparmor=PROFILE(profile_type=kind, localhost_ref=reference))


def text(value: str) -> pb.LinuxContainerSecurityContext:
    return pb.LinuxContainerSecurityContext(apparmor_profile=value)


@pytest.mark.parametrize("asked", [context(PROFILE.RuntimeDefault), text(""), text("runtime/default")])
def test_default(asked: pb.LinuxContainerSecurityContext) -> None:
    assert apparmor.resolve(asked, enabled=True) == "crio-default"
    assert apparmor.resolve(asked, enabled=True, default="own") == "own"
    assert apparmor.resolve(asked, enabled=True, default="unconfined") == ""
    assert apparmor.resolve(asked, enabled=False) == ""


@pytest.mark.parametrize("asked", [context(PROFILE.Unconfined), text("unconfined")])
def test_unconfined(asked: pb.LinuxContainerSecurityContext) -> None:
    assert apparmor.resolve(asked, enabled=True) == "unconfined"
    assert apparmor.resolve(asked, enabled=False) == ""


@pytest.mark.parametrize("asked", [context(PROFILE.Localhost, "own"), text("localhost/own")])
def test_localhost_must_be_loaded(asked: pb.LinuxContainerSecurityContext, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = {"own"}
    monkeypatch.setattr("crio.linux.apparmor.is_loaded", lambda name: name in loaded)
    assert apparmor.resolve(asked, enabled=True) == "own"
    loaded.clear()
    with pytest.raises(InvalidArgument, match="not loaded"):
        apparmor.resolve(asked, enabled=True)
    with pytest.raises(FailedPrecondition, match="not enabled"):
        apparmor.resolve(asked, enabled=False)


def test_privileged_is_unconfined() -> None:
    assert apparmor.resolve(context(PROFILE.Localhost, "own"), enabled=True, privileged=True) == ""


@pytest.mark.parametrize("value", ["docker-default", "localhost/", "localhost/a\nb", "localhost//&"])
def test_bad_texts_are_refused(value: str) -> None:
    with pytest.raises(InvalidArgument):
        apparmor.resolve(text(value), enabled=True)


def test_default_profile_text() -> None:
    source = apparmor.default_profile_text()
    assert "profile crio-default flags=" in source
    assert source.count("{") == source.count("}")
    assert "deny mount," in source
    bare = apparmor.default_profile_text(tunables=False, abstractions=False)
    assert "include" not in bare
    assert "@{PROC}=/proc/" in bare


def test_a_type_of_tomorrow_is_refused() -> None:
    asked = pb.LinuxContainerSecurityContext()
    asked.apparmor.profile_type = pb.SecurityProfile.ProfileType.ValueType(77)
    with pytest.raises(InvalidArgument, match="type 77"):
        apparmor.resolve(asked, enabled=False)
