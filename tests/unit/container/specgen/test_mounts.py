from __future__ import annotations

from crio.container.specgen.mounts import join, make_writable
from crio.spec.oci_runtime import Mount


def places(defaults: list[str], asked: list[str]) -> list[str]:
    return [mount.destination for mount in join(map(Mount, defaults), map(Mount, asked))]


def test_shallow_before_deep() -> None:
    assert places(["/dev/shm", "/proc", "/dev"], ["/a/b/c", "/a", "/a/b"]) == [
        "/proc",
        "/dev",
        "/dev/shm",
        "/a",
        "/a/b",
        "/a/b/c",
    ]


def test_requested_mounts_hide_defaults() -> None:
    defaults = ["/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/etc/hosts", "/run/.containerenv"]
    assert places(defaults, ["/dev/", "/sys"]) == ["/proc", "/etc/hosts", "/run/.containerenv", "/dev/", "/sys"]
    assert places(defaults, ["/etc/hosts"])[-1] == "/etc/hosts"
    assert "/run/.containerenv" not in places(defaults, ["/run"])
    assert places(["/proc"], ["/"]) == ["/proc", "/"]


def test_the_last_default_at_a_place_counts() -> None:
    result = join([Mount("/run", "tmpfs", options=["a"]), Mount("/run", "tmpfs", options=["b"])], [])
    assert [mount.options for mount in result] == [["b"]]


def test_writable() -> None:
    mounts = [Mount("/sys", "sysfs", "sysfs", ["nosuid", "ro"]), Mount("/proc", "proc", "proc", ["nosuid"])]
    make_writable(mounts)
    assert [mount.options for mount in mounts] == [["nosuid", "rw"], ["nosuid"]]
