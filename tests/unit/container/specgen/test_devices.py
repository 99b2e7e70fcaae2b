from __future__ import annotations

import os
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.container.specgen import devices
from crio.spec.oci_runtime import Device, DeviceRule, Resources

NO_OWNER: tuple[int | None, int | None] = (None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/dev/fuse", ("/dev/fuse", "/dev/fuse", "rwm")),
        ("/dev/fuse:r", ("/dev/fuse", "/dev/fuse", "r")),
        ("/dev/fuse:/dev/x", ("/dev/fuse", "/dev/x", "rwm")),
        ("/dev/fuse:/dev/x:rw", ("/dev/fuse", "/dev/x", "rw")),
        ("/dev/fuse::rw", ("/dev/fuse", "/dev/fuse", "rw")),
    ],
)
def test_texts(text: str, expected: tuple[str, str, str]) -> None:
    assert devices.parse_device(text) == devices.DeviceText(*expected)


@pytest.mark.parametrize(
    "text", ["fuse", "/dev/a:/dev/b:rr", "/dev/a:/etc/x", "/dev/a:/dev/../x", "/a:b:c:d", "/dev/a:x"]
)
def test_malformed_texts(text: str) -> None:
    with pytest.raises(InvalidArgument):
        devices.parse_device(text)


def test_annotated_must_be_allowed() -> None:
    nodes: list[Device] = []
    limits = Resources()
    devices.add_annotated(nodes, limits, "/dev/null:/dev/zip:r,/dev/zero", ["/dev/null", "/dev/zero"])
    assert [node.path for node in nodes] == ["/dev/zip", "/dev/zero"]
    assert limits.devices[0] == DeviceRule(True, "c", 1, 3, "r")
    with pytest.raises(InvalidArgument, match="allowed_devices"):
        devices.add_annotated(nodes, limits, "/dev/full", ["/dev/null"])


def test_requested_device_and_owner() -> None:
    nodes: list[Device] = []
    limits = Resources()
    request = pb.Device(host_path="/dev/null", container_path="/dev/mine", permissions="rw")
    devices.add_requested(nodes, limits, [request], owner=(7, None))
    assert nodes == [Device(type="c", path="/dev/mine", major=1, minor=3, uid=7, gid=os.stat("/dev/null").st_gid)]
    assert limits.devices == [DeviceRule(True, "c", 1, 3, "rw")]


def test_a_later_device_replaces_one_at_its_place() -> None:
    nodes: list[Device] = []
    limits = Resources()
    for source in ("/dev/null", "/dev/zero"):
        devices.add_requested(nodes, limits, [pb.Device(host_path=source, container_path="/dev/x")], owner=NO_OWNER)
    assert [node.minor for node in nodes] == [5]


@pytest.mark.root
def test_a_directory_stands_for_its_devices(tmp_path: Path) -> None:
    (tmp_path / "d/sub").mkdir(parents=True)
    os.mknod(tmp_path / "d/a", 0o20600, os.makedev(1, 3))
    os.mknod(tmp_path / "d/sub/b", 0o60600, os.makedev(7, 9))
    (tmp_path / "d/file").touch()
    (tmp_path / "d/link").symlink_to("/dev/null")
    nodes: list[Device] = []
    devices.add_requested(
        nodes, Resources(), [pb.Device(host_path=str(tmp_path / "d"), container_path="/dev/set")], owner=NO_OWNER
    )
    assert sorted((node.path, node.type) for node in nodes) == [("/dev/set/a", "c"), ("/dev/set/sub/b", "b")]


@pytest.mark.parametrize(
    "request_",
    [
        pb.Device(host_path="/etc/passwd", container_path="/dev/x"),
        pb.Device(host_path="/dev/nothing-here", container_path="/dev/x"),
        pb.Device(host_path="/dev/null", container_path="relative"),
        pb.Device(host_path="/dev/null", container_path="/dev/x", permissions="rwx"),
    ],
)
def test_what_is_no_device(request_: pb.Device) -> None:
    with pytest.raises(InvalidArgument):
        devices.add_requested([], Resources(), [request_], owner=NO_OWNER)


def test_all_of_the_hosts() -> None:
    nodes: list[Device] = []
    limits = Resources()
    devices.add_host_devices(nodes, limits)
    paths = {node.path for node in nodes}
    assert {"/dev/null", "/dev/urandom"} <= paths
    assert not any(path.startswith(("/dev/pts/", "/dev/shm/", "/dev/fd")) for path in paths)
    assert limits.devices == [DeviceRule(True, access="rwm")]


def test_privileged_may_not_hide_a_device() -> None:
    devices.check_privileged([pb.Device(host_path="/dev/null", container_path="/dev/null")])
    devices.check_privileged([pb.Device(host_path="/dev/null", container_path="/dev/no-such-device")])
    with pytest.raises(InvalidArgument):
        devices.check_privileged([pb.Device(host_path="/dev/null", container_path="/dev/zero")])
