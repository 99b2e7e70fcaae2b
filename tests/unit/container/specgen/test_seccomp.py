from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from crio.container.specgen.seccomp import Choice, artifact_reference, choose
from crio.spec.oci_runtime import NONE
from spec_input import PROFILES, plain_host

DEFAULT, UNCONFINED, LOCALHOST = (
    pb.SecurityProfile.RuntimeDefault,
    pb.SecurityProfile.Unconfined,
    pb.SecurityProfile.Localhost,
)
OWN = b'{"defaultAction": "SCMP_ACT_LOG"}'


def context(kind: int, reference: str = "") -> pb.LinuxContainerSecurityContext:
    fields: dict[str, Any] = {"profile_type": kind, "localhost_ref": reference}
    return pb.LinuxContainerSecurityContext(seccomp=pb.SecurityProfile(**fields))


def chosen(asked: pb.LinuxContainerSecurityContext, **changes: Any) -> Choice:
    settings: dict[str, Any] = {
        "profiles": PROFILES,
        "host": plain_host(seccomp_actions=frozenset({"errno", "user_notif"})),
        "capabilities": [],
        "privileged": False,
        "privileged_profile": "",
        "handler_profile": "",
        "artifact": None,
        "annotations": {},
        "container_id": "id",
        "notifier_directory": "/run/seccomp",
    }
    return choose(asked, **{**settings, **changes})


def default_action(choice: Choice) -> str:
    action: str = msgspec.json.decode(choice.encoded)["defaultAction"]
    return action


@pytest.mark.parametrize(
    "asked", [context(DEFAULT), pb.LinuxContainerSecurityContext(seccomp_profile_path="runtime/default")]
)
def test_runtime_default(asked: pb.LinuxContainerSecurityContext) -> None:
    choice = chosen(asked)
    assert choice.reference == "RuntimeDefault"
    assert default_action(choice) == "SCMP_ACT_ERRNO"


@pytest.mark.parametrize("asked", [context(UNCONFINED), pb.LinuxContainerSecurityContext()])
def test_unconfined(asked: pb.LinuxContainerSecurityContext) -> None:
    assert chosen(asked) == Choice(NONE, "Unconfined", "")


def test_localhost(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(OWN)
    for asked in (
        context(LOCALHOST, str(path)),
        pb.LinuxContainerSecurityContext(seccomp_profile_path=f"localhost/{path}"),
    ):
        choice = chosen(asked)
        assert choice.reference == str(path)
        assert default_action(choice) == "SCMP_ACT_LOG"
    for reference in ("p.json", str(tmp_path / "none")):
        with pytest.raises(Exception, match="cannot use seccomp profile"):
            chosen(context(LOCALHOST, reference))


def test_privileged(tmp_path: Path) -> None:
    assert chosen(context(DEFAULT), privileged=True).encoded is NONE
    path = tmp_path / "p.json"
    path.write_bytes(OWN)
    assert default_action(chosen(context(DEFAULT), privileged=True, privileged_profile=str(path))) == "SCMP_ACT_LOG"


def test_kernel_without_filters() -> None:
    bare = plain_host(seccomp_actions=frozenset())
    assert chosen(context(DEFAULT), host=bare).encoded is NONE
    with pytest.raises(FailedPrecondition):
        chosen(context(LOCALHOST, "/p.json"), host=bare)


def test_artifact_only_where_nothing_else_is_asked() -> None:
    assert default_action(chosen(context(UNCONFINED), artifact=OWN)) == "SCMP_ACT_LOG"
    assert default_action(chosen(context(DEFAULT), artifact=OWN)) == "SCMP_ACT_ERRNO"
    with pytest.raises(InvalidArgument):
        chosen(context(UNCONFINED), artifact=b"{")
    with pytest.raises(ResourceExhausted):
        chosen(context(UNCONFINED), artifact=b" " * (2 << 20))


def test_artifact_reference() -> None:
    free = pb.LinuxContainerSecurityContext()
    pod = {"seccomp-profile.crio.io/app": "own", "seccomp-profile.crio.io/POD": "pod"}
    image = {"seccomp-profile.kubernetes.cri-o.io": "image"}
    assert artifact_reference(free, "app", pod, image) == "own"
    assert artifact_reference(free, "other", pod, image) == "pod"
    assert artifact_reference(free, "other", {}, image) == "image"
    assert artifact_reference(free, "other", {}, {}) == ""
    assert artifact_reference(context(DEFAULT), "app", pod, image) == ""


def test_notifier() -> None:
    annotations = {"seccomp-notifier-action.crio.io": "stop"}
    choice = chosen(context(DEFAULT), annotations=annotations, takes_program=True)
    assert (choice.listener, choice.program) == ("/run/seccomp/id", "")
    assert b"SCMP_ACT_NOTIFY" in bytes(choice.encoded)


def test_program_for_runtimes_that_take_one() -> None:
    assert chosen(context(DEFAULT)).program == ""
    assert len(chosen(context(DEFAULT), takes_program=True).program) > 1000


@pytest.mark.parametrize("actions", [frozenset({"errno"}), frozenset()])
def test_a_type_of_tomorrow_is_not_taken_for_no_profile(actions: frozenset[str]) -> None:
    with pytest.raises(InvalidArgument, match="type 77"):
        chosen(context(77), host=plain_host(seccomp_actions=actions))
