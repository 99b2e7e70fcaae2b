from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from crio.base.errors import FailedPrecondition
from crio.base.ids import new_id
from crio.base.process import ProcessFailed
from crio.linux.mount import mounts_below
from crio.linux.overlay import OverlayMount
from crio.storage.driver import fuse
from crio.storage.options import StoreOptions
from crio.storage.records import ImageRecord
from crio.storage.store import Store

PROGRAM = "/usr/bin/fuse-overlayfs"
pytestmark = [pytest.mark.root, pytest.mark.skipif(not shutil.which(PROGRAM), reason="needs fuse-overlayfs")]

TarMaker = Callable[..., bytes]
ImageMaker = Callable[..., ImageRecord]


@pytest.fixture
def with_program(options: StoreOptions) -> StoreOptions:
    return replace(options, driver_options=[f"overlay.mount_program={PROGRAM}", "overlay.mountopt=nodev,metacopy=on"])


@pytest.fixture
def forced(with_program: StoreOptions) -> Iterator[Store]:
    options = replace(with_program, driver_options=[*with_program.driver_options, "overlay.force_mask=shared"])
    with Store.open(options) as store:
        yield store


def test_the_program_mounts_and_ends_with_the_mount(
    with_program: StoreOptions, tar: TarMaker, add_image: ImageMaker
) -> None:
    with Store.open(with_program) as store:
        image = add_image(store, "localhost/a:1", tar(("a", b"1"), ("b", b"2")), tar((".wh.a", b"")))
        # Marks stay the files that they are in the tar.
        assert os.listdir(store.driver.own_directories(image.layer)[0]) == [".wh.a"]
        id = new_id()
        store.create_container(id, names=["c"], image_id=image.id)
        merged = store.mount_container(id)
        (info,) = mounts_below(merged)
        assert info.fstype == "fuse.fuse-overlayfs"
        assert "nodev" in info.options
        assert os.listdir(merged) == ["b"]
        os.unlink(f"{merged}/b")
        assert os.listdir(merged) == []
        store.remove_container(id)
    assert (Path(with_program.graphroot) / "overlay/.has-mount-program").read_bytes() == b"true"


def test_a_store_made_with_it_needs_it(options: StoreOptions, with_program: StoreOptions) -> None:
    with Store.open(options):
        pass
    # From the kernel to the program is no step, as it knows the kernel's marks; the way back is one.
    with Store.open(with_program):
        pass
    with pytest.raises(FailedPrecondition, match="set mount_program"), Store.open(options):
        pass


def test_forced_modes_are_seen_outside_only(forced: Store, tar: TarMaker, add_image: ImageMaker) -> None:
    secret = tarfile.TarInfo("shadow")
    secret.mode, secret.uid = 0o640, 3
    image = add_image(forced, "localhost/a:1", tar(secret, ("d", None), ("deep/down/f", b"")))
    outside = Path(forced.driver.own_directories(image.layer)[0])
    assert {stat.S_IMODE(path.stat().st_mode) for path in (outside, *outside.rglob("*"))} == {0o755}
    id = new_id()
    forced.create_container(id, names=["c"], image_id=image.id)
    root = Path(forced.mount_container(id))
    status = (root / "shadow").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o640, 3)
    forced.remove_container(id)


def test_a_failure_says_what_the_program_said(place: Path) -> None:
    plan = OverlayMount(str(place / "m"), [str(place / "none")])
    with pytest.raises(ProcessFailed, match="fuse-overlayfs"):
        fuse.mount(PROGRAM, plan, forced_modes=False)
    assert mounts_below(str(place)) == []


def test_what_stands_in_the_attribute() -> None:
    assert fuse.override(0, 7, 0o4755) == b"0:7:4755"
