from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import spec_input
from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.container.specgen.plan import Notes, Relabel, WriteFile
from crio.container.specgen.user import ResolvedUser, account_mounts, resolve


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    spec_input.make_root(tmp_path / "rootfs")
    fd = os.open(tmp_path / "rootfs", os.O_PATH)
    yield fd
    os.close(fd)


def context(**fields: Any) -> pb.LinuxContainerSecurityContext:
    for name in ("run_as_user", "run_as_group"):
        if name in fields:
            fields[name] = pb.Int64Value(value=fields[name])
    return pb.LinuxContainerSecurityContext(**fields)


@pytest.mark.parametrize(
    ("fields", "image", "expected"),
    [
        ({}, "", (0, 0, (0,))),
        ({}, "web", (1000, 1001, (1001, 29, 44))),
        ({}, "1000", (1000, 1001, (1001, 29, 44))),
        ({}, "web:audio", (1000, 29, (29,))),
        ({}, "4242", (4242, 0, (0,))),
        ({}, "4242:4343", (4242, 4343, (4343,))),
        ({"run_as_user": 4242}, "web", (4242, 0, (0,))),
        ({"run_as_user": 0}, "web", (0, 0, (0,))),
        ({"run_as_username": "web"}, "root", (1000, 1001, (1001, 29, 44))),
        ({"run_as_user": 1000, "run_as_group": 5}, "", (1000, 5, (5, 29, 44))),
        ({"run_as_user": 1000, "supplemental_groups": [9, 29]}, "", (1000, 1001, (1001, 29, 44, 9))),
    ],
)
def test_user_and_groups(
    root: int, fields: dict[str, Any], image: str, expected: tuple[int, int, tuple[int, ...]]
) -> None:
    """CVE-2022-2995, CVE-2023-25173: the primary group is always among the additional ones."""
    who = resolve(context(**fields), image, root)
    assert (who.uid, who.gid, who.groups) == expected


def test_strict_policy_leaves_the_images_groups_out(root: int) -> None:
    who = resolve(context(run_as_user=1000, supplemental_groups=[9], supplemental_groups_policy=pb.Strict), "", root)
    assert who.groups == (1001, 9)


@pytest.mark.parametrize(
    ("fields", "image"),
    [
        ({"run_as_group": 5}, ""),
        ({"run_as_user": -1}, ""),
        ({"run_as_user": 1 << 31}, ""),
        ({"run_as_user": 1 << 32}, ""),
        ({"run_as_user": 1, "run_as_group": 1 << 32}, ""),
        ({"supplemental_groups": [1 << 31]}, ""),
        ({"run_as_username": "nobody-here"}, ""),
        ({"supplemental_groups_policy": 7}, ""),
        ({}, "4294967296"),
        ({}, "2147483648:0"),
        ({}, "bad"),
        ({}, "web:nogroup"),
        ({}, "web:4294967296"),
    ],
)
def test_refused(root: int, fields: dict[str, Any], image: str) -> None:
    with pytest.raises(InvalidArgument):
        resolve(context(**fields), image, root)


def test_home_comes_from_passwd(root: int) -> None:
    assert resolve(context(), "web", root).home == "/srv/web"
    assert resolve(context(run_as_user=77), "", root).home == ""


def planned(who: ResolvedUser, covered: tuple[str, ...] = (), home: str = "/home") -> tuple[list[str], Notes]:
    notes = Notes("/run/c", "label")
    return [mount.destination for mount in account_mounts(who, home=home, covered=covered, notes=notes)], notes


def test_line_for_a_user_without_one(root: int) -> None:
    places, notes = planned(resolve(context(run_as_user=4242, run_as_group=4343), "", root))
    assert places == ["/etc/passwd", "/etc/group"]
    passwd, group = (effect for effect in notes.effects if isinstance(effect, WriteFile))
    assert passwd.path == "/run/c/passwd"
    assert passwd.data.endswith(b"bad:x:nan:5::/:\n4242:x:4242:4343:4242 user:/home:/sbin/nologin\n")
    assert group.data.endswith(b"\n4343:x:4343:\n")
    assert notes.relabels == [Relabel("/run/c/passwd", "label"), Relabel("/run/c/group", "label")]


def test_home_cannot_add_a_field(root: int) -> None:
    _, notes = planned(resolve(context(run_as_user=4242), "", root), home="/x:/bin/sh\nevil:x:0:0")
    passwd = notes.effects[0]
    assert isinstance(passwd, WriteFile)
    assert passwd.data.endswith(b"\n4242:x:4242:0:4242 user:/:/sbin/nologin\n")


def test_a_copy_on_the_host_is_no_program(root: int) -> None:
    for name in ("passwd", "group"):
        os.chmod(f"etc/{name}", 0o6755, dir_fd=root)
    _, notes = planned(resolve(context(run_as_user=4242, run_as_group=4343), "", root))
    assert [effect.mode for effect in notes.effects if isinstance(effect, WriteFile)] == [0o644, 0o644]


def test_no_line_where_there_is_one_or_a_volume(root: int) -> None:
    assert planned(resolve(context(), "web", root))[0] == []
    stranger = resolve(context(run_as_user=4242, run_as_group=4343), "", root)
    assert planned(stranger, ("/etc",))[0] == []
    assert planned(stranger, ("/etc/passwd",))[0] == ["/etc/group"]


def test_a_file_that_the_user_may_write_stays(tmp_path: Path, root: int) -> None:
    (tmp_path / "rootfs/etc/passwd").chmod(0o664)
    assert planned(resolve(context(run_as_user=4242), "", root))[0] == []
