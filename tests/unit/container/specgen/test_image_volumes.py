from __future__ import annotations

from crio.container.specgen.image_volumes import image_volumes
from crio.container.specgen.plan import MakeDirectory, MakeHostDirectory, Notes
from crio.spec.oci_runtime import Mount


def made(declared: list[str], mode: str, requested: tuple[str, ...] = ()) -> tuple[list[Mount], Notes]:
    notes = Notes("/run/c", "label")
    return image_volumes(declared, mode, owner=(5, 6), requested=requested, notes=notes), notes


def test_mkdir() -> None:
    mounts, notes = made(["/data", "/data/", "relative", "/mine"], "mkdir", ("/mine",))
    assert mounts == []
    assert notes.effects == [MakeDirectory("/data", 0o755, 5, 6), MakeDirectory("/relative", 0o755, 5, 6)]


def test_bind() -> None:
    mounts, notes = made(["/data"], "bind")
    assert mounts[0].destination == "/data"
    assert mounts[0].source.startswith("/run/c/volumes/")
    assert notes.effects == [MakeHostDirectory(mounts[0].source, 0o755, 5, 6)]
    assert notes.relabels[0].path == mounts[0].source


def test_ignore() -> None:
    assert made(["/data"], "ignore") == ([], Notes("/run/c", "label"))


def test_dots_stay_in_the_root() -> None:
    """CVE-2022-23648."""
    mounts, _ = made(["/../../etc", "../x"], "bind")
    assert [mount.destination for mount in mounts] == ["/etc", "/x"]
    assert all("/etc" not in mount.source for mount in mounts)


def test_kernel_file_systems_are_refused() -> None:
    """CVE-2019-16884."""
    for mode in ("bind", "mkdir"):
        mounts, notes = made(["/proc", "/x/../proc/sys", "/sys/fs", "/dev/shm", "/", "/a\0b"], mode)
        assert (mounts, notes.effects) == ([], [])
        assert len(notes.warnings) == 5


def test_too_many() -> None:
    mounts, notes = made([f"/{number}" for number in range(1000)], "bind")
    assert len(mounts) == 256
    assert len(notes.warnings) == 1
