"""A pod's logs in its own volume: which volume that is, the mount and the links."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import FailedPrecondition, InvalidArgument
from crio.linux.mount import is_mount_point
from crio.sandbox.linked_logs import link_log, link_path, mount_logs, place, unmount_logs, volume

UID = "3f1b-5c"
PATH = f"{UID}/volumes/kubernetes.io~empty-dir/logging"


def config(uid: str = UID, log_directory: str = "/var/log/pods/x") -> pb.PodSandboxConfig:
    return pb.PodSandboxConfig(metadata=pb.PodSandboxMetadata(uid=uid), log_directory=log_directory)


def test_the_volume_by_either_spelling() -> None:
    assert volume({}, config()) == ""
    assert volume({"link-logs.crio.io": "logging"}, config()) == PATH
    assert volume({"io.kubernetes.cri-o.LinkLogs": "logging"}, config()) == PATH
    assert volume({"io.kubernetes.cri-o.LinkLogs": "a", "link-logs.crio.io": "logging"}, config()) == PATH


def test_its_place_on_the_host(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "pods")
    assert place(PATH, pods=str(tmp_path / "link")) == f"{tmp_path}/pods/{PATH}"
    assert place("") == ""


@pytest.mark.parametrize("name", [".", "..", "a/../../b", "/etc", "a b", "A", "-a", "a" * 64, "a\n"])
def test_what_is_no_volume(name: str) -> None:
    with pytest.raises(InvalidArgument, match="no name of an emptyDir volume"):
        volume({"link-logs.crio.io": name}, config())


def test_a_pod_that_has_no_volumes_or_logs() -> None:
    for uid in ("", "..", "a/b"):
        with pytest.raises(InvalidArgument, match="uid"):
            volume({"link-logs.crio.io": "logging"}, config(uid))
    with pytest.raises(InvalidArgument, match="no log directory"):
        volume({"link-logs.crio.io": "logging"}, config(log_directory=""))


@pytest.mark.root
def test_logs_can_be_read_there_and_not_written(tmp_path: Path) -> None:
    there, logs = tmp_path / "pods" / PATH, tmp_path / "logs"
    there.mkdir(parents=True)
    (logs / "web").mkdir(parents=True)
    (logs / "web" / "0.log").write_text("line\n")
    pods = str(tmp_path / "pods")
    mount_logs(PATH, str(logs), pods=pods)
    try:
        link = link_path(str(logs), "cd" * 32)
        link_log(link, "web/0.log")
        link_log(link, "web/0.log")
        assert (there / f"{'cd' * 32}.log").read_text() == "line\n"
        with pytest.raises(OSError, match="Read-only"):
            (there / "web" / "0.log").write_text("forged")
    finally:
        unmount_logs(PATH, pods=pods)
    assert not is_mount_point(str(there))
    assert os.listdir(there) == []
    unmount_logs(PATH, pods=pods)


@pytest.mark.root
def test_a_volume_that_is_not_there_or_a_link(tmp_path: Path) -> None:
    there = tmp_path / "pods" / PATH
    with pytest.raises(FailedPrecondition, match="no emptyDir volume at"):
        mount_logs(PATH, str(tmp_path), pods=str(tmp_path / "pods"))
    there.parent.mkdir(parents=True)
    there.symlink_to(tmp_path)
    with pytest.raises(FailedPrecondition, match="symbolic links"):
        mount_logs(PATH, str(tmp_path), pods=str(tmp_path / "pods"))
    unmount_logs(PATH, pods=str(tmp_path / "pods"))
