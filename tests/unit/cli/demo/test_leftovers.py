from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crio.cli.demo.leftovers import KINDS, Snapshot, cni_chain_mark, family_marks, files_below, new_things
from crio.linux.mount import bind, umount

WORD = f"leftover{os.getpid()}"


def found_while(kind: str, directory: Path | None = None) -> list[str]:
    """What a look finds now that carries our word."""
    directories = [str(directory)] if directory else []
    nothing = Snapshot(*(frozenset[str]() for _ in KINDS))
    return new_things(nothing, Snapshot.take(directories), [WORD]).get(kind, [])


@contextmanager
def cgroup(root: str) -> Iterator[str]:
    path = f"{root}/{WORD}"
    os.mkdir(path)
    try:
        yield path
    finally:
        os.rmdir(path)


def a_cgroup_root() -> str:
    for path in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
        if os.path.exists(f"{path}/cgroup.procs"):
            return path
    pytest.skip("no control group hierarchy is mounted")


@pytest.mark.root
def test_mounts(tmp_path: Path) -> None:
    target = tmp_path / WORD
    target.mkdir()
    assert found_while("mounts") == []
    bind(str(target), str(target))
    try:
        (mount,) = found_while("mounts")
        assert mount.startswith(f"{target} (")
    finally:
        umount(str(target))


@pytest.mark.root
def test_namespaces() -> None:
    subprocess.run(["ip", "netns", "add", WORD], check=True)
    try:
        assert found_while("namespaces") == [f"/run/netns/{WORD}"]
    finally:
        subprocess.run(["ip", "netns", "delete", WORD], check=True)
    assert found_while("namespaces") == []


@pytest.mark.root
def test_links_with_their_bridge() -> None:
    bridge, port = f"b{WORD}"[:15], f"p{WORD}"[:15]
    subprocess.run(["ip", "link", "add", bridge, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "link", "add", port, "type", "veth"], check=True)
        subprocess.run(["ip", "link", "set", port, "master", bridge], check=True)
        links = Snapshot.take().links
        assert {bridge, f"{port} in {bridge}"} <= links
    finally:
        subprocess.run(["ip", "link", "delete", port], check=False)
        subprocess.run(["ip", "link", "delete", bridge], check=True)


@pytest.mark.root
def test_cgroups() -> None:
    with cgroup(a_cgroup_root()) as path:
        assert path in found_while("cgroups")
    assert found_while("cgroups") == []


def test_processes_by_command_line_and_directory(tmp_path: Path) -> None:
    directory = tmp_path / WORD
    directory.mkdir()
    with (
        subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()", WORD], stdin=subprocess.PIPE) as one,
        subprocess.Popen(["sleep", "60"], cwd=directory) as two,
    ):
        found = found_while("processes")
        assert {int(line.split()[0]) for line in found} == {one.pid, two.pid}
        two.kill()
        one.communicate()
    assert found_while("processes") == []


@pytest.mark.root
def test_processes_by_cgroup() -> None:
    with cgroup(a_cgroup_root()) as path, subprocess.Popen(["sleep", "60"]) as child:
        Path(path, "cgroup.procs").write_text(str(child.pid))
        assert [int(line.split()[0]) for line in found_while("processes")] == [child.pid]
        child.kill()
        child.wait()


def test_a_family_of_processes() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        grandchild = int(parent.stdout.readline())
        marks = family_marks(parent.pid)
        assert [int(mark.split()[0]) for mark in marks] == sorted([parent.pid, grandchild])
        before = Snapshot(*(frozenset[str]() for _ in KINDS))
        parent.kill()
        parent.wait()
        # The grandchild lives on as an orphan, and is found although nothing about it tells whose it is.
        (found,) = new_things(before, Snapshot.take(), marks)["processes"]
        assert found.startswith(f"{grandchild} since ")
        os.kill(grandchild, 9)
    assert family_marks(1 << 30) == []


def test_sockets(tmp_path: Path) -> None:
    path = str(tmp_path / WORD)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        assert found_while("sockets") == []
        listener.listen()
        assert found_while("sockets") == [path]


@pytest.mark.root
def test_rules() -> None:
    subprocess.run(
        ["nft", f"add table inet {WORD}; add chain inet {WORD} c; add rule inet {WORD} c accept"], check=True
    )
    try:
        found = found_while("rules")
        assert f"nft: table inet {WORD} {{ accept" in found
    finally:
        subprocess.run(["nft", f"delete table inet {WORD}"], check=True)
    assert found_while("rules") == []


def test_files(tmp_path: Path) -> None:
    before = Snapshot.take([str(tmp_path)])
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / WORD).symlink_to("/")
    after = Snapshot.take([str(tmp_path)])
    assert new_things(before, after)["files"] == [f"{tmp_path}/a", f"{tmp_path}/a/{WORD}"]
    assert new_things(before, after, [f"/a/{WORD}"])["files"] == [f"{tmp_path}/a/{WORD}"]
    assert list(files_below(str(tmp_path / "none"))) == []


def test_what_a_killed_runtime_left() -> None:
    path = Path(f"/tmp/crun.{WORD}")
    path.touch()
    try:
        assert found_while("temporary") == [str(path)]
    finally:
        path.unlink()
    assert found_while("temporary") == []


def test_what_was_there_before_is_not_new() -> None:
    snapshot = Snapshot.take()
    assert new_things(snapshot, snapshot) == {}
    assert snapshot.count("processes") > 0


def test_the_chain_names_of_cni_plug_ins() -> None:
    # A plug-in's chain is CNI- and the first digits of the hash of the network's name and the pod's id.
    assert cni_chain_mark("a", "bc") == "ddaf35a193617aba"  # sha512("abc"), FIPS 180-2


def test_kinds_are_the_fields() -> None:
    assert set(KINDS) == set(Snapshot.__dataclass_fields__)
