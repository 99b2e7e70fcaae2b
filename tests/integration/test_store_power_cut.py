"""The power goes while images come and go. What had reached the disk at that moment is a store that works.

The disk is a file that can be cloned in an instant (reflinks of btrfs): a clone has what the file system of the store
had written by then, and nothing that was still in memory. Each clone is mounted, as after a reboot, and looked through.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import random
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.file_systems import attach, mounted
from crio.base.ids import new_id
from crio.linux.mount import unmount_below
from crio.storage.check import check, repair
from crio.storage.gc import collect
from crio.storage.options import StoreOptions
from crio.storage.store import Store

pytestmark = [pytest.mark.root, pytest.mark.skipif(not shutil.which("mkfs.btrfs"), reason="needs btrfs-progs")]

_FICLONE = 0x40049409
_CUTS = 4
_SECONDS = 2.5
_OPTIONS = {"ext4": "", "xfs": "nouuid", "btrfs": ""}
_SIZES = {"ext4": 128 << 20, "xfs": 320 << 20, "btrfs": 256 << 20}


@pytest.fixture(scope="module")
def ground() -> Iterator[Path]:
    with mounted("btrfs", size=4 << 30) as path:
        yield path


class Traffic:
    """Images come, get names, are used and go, as fast as it can be, until `stop`."""

    def __init__(self, root: Path, run: Path) -> None:
        self._options = StoreOptions(str(root), str(run), lock_timeout=30)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.promised: dict[str, str] = {}
        """Images whose maker was told that they are there: id to the content of their file."""
        self.failure: BaseException | None = None
        self.rounds = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def wait_rounds(self, count: int) -> None:
        """However slow the disk is."""
        end = time.monotonic() + 60
        while self.rounds < count and self.failure is None:
            assert time.monotonic() < end, f"only {self.rounds} rounds"
            time.sleep(0.02)

    def _run(self) -> None:
        try:
            with Store.open(self._options) as store:
                base = _add_layer(store, None, "base")
                while not self._stopping.is_set():
                    self._round(store, base)
        except BaseException as error:  # noqa: BLE001 - it is looked at by the test
            self.failure = error

    def _round(self, store: Store, base: str) -> None:
        number = self.rounds
        text = f"content {number} " * 500
        layer = _add_layer(store, base, text)
        id = new_id()
        manifest = f"manifest {number}".encode()
        store.put_image(id, layer=layer, names=[f"localhost/image:{number}"], big_data={"manifest": manifest})
        self.promised[id] = text
        container = new_id()
        store.create_container(container, names=[f"k8s_{number}"], image_id=id)
        root = Path(store.mount_container(container))
        (root / "written").write_text("x" * 5000)
        store.remove_container(container)
        if number % 3 == 0 and len(self.promised) > 4:
            victim = next(iter(self.promised))
            del self.promised[victim]
            store.remove_image(victim)
        self.rounds += 1


def _add_layer(store: Store, parent: str | None, text: str) -> str:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, size in (("d", None), ("d/text", len(text)), ("d/empty", 0)):
            info = tarfile.TarInfo(name)
            if size is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            info.size = size or 0
            archive.addfile(info, io.BytesIO(text.encode()))
    data = buffer.getvalue()
    with store.stage_layer() as writer:
        writer.write(data)
        return writer.commit(parent, f"sha256:{hashlib.sha256(data).hexdigest()}").id


def _clone(source: Path, target: Path) -> None:
    """The content at one moment."""
    with source.open("rb") as read, target.open("wb") as write:
        fcntl.ioctl(write, _FICLONE, read.fileno())


def _make_disk(kind: str, ground: Path) -> Path:
    place = ground / kind
    place.mkdir()
    disk = place / "disk"
    with disk.open("wb") as file:
        file.truncate(_SIZES[kind])
    subprocess.run([f"mkfs.{kind}", "-q", str(disk)], check=True, capture_output=True)
    return disk


@pytest.mark.parametrize("kind", _OPTIONS)
def test_whenever_the_power_goes(kind: str, ground: Path, tmp_path: Path) -> None:
    if not shutil.which(f"mkfs.{kind}"):
        pytest.skip(f"needs mkfs.{kind}")
    disk = _make_disk(kind, ground)
    point = disk.parent / "mounted"
    point.mkdir()
    cuts: list[tuple[Path, dict[str, str]]] = []
    attach(str(disk), str(point))
    traffic = Traffic(point / "graph", tmp_path / "run")
    traffic.start()
    try:
        for number in range(_CUTS):
            time.sleep(random.uniform(0.3, 1.7) * _SECONDS / _CUTS)
            if number == _CUTS - 1:
                traffic.wait_rounds(2)
            before = dict(traffic.promised)
            cut = disk.parent / f"cut{number}"
            _clone(disk, cut)
            # What is being removed at the moment is no promise any more.
            kept = {id: text for id, text in before.items() if id in traffic.promised}
            cuts.append((cut, kept))
    finally:
        traffic.stop()
        unmount_below(str(point))
    assert traffic.failure is None
    assert any(promised for _, promised in cuts)
    for number, (cut, promised) in enumerate(cuts):
        attach(str(cut), str(point), _OPTIONS[kind])
        try:
            _look_through(StoreOptions(str(point / "graph"), str(tmp_path / f"run{number}")), promised)
        finally:
            unmount_below(str(point))


def _look_through(options: StoreOptions, promised: dict[str, str]) -> None:
    if not os.path.exists(options.graphroot):
        assert promised == {}
        return
    with Store.open(options) as store:
        collect(store)
        there = {image.id for image in store.images()}
        assert promised.keys() <= there
        report = check(store, age=-1)
        damaged = {damage.id for damage in report.damages}
        assert not damaged & promised.keys(), str(report)
        assert repair(store, report, remove_containers=True) == []
        assert check(store, age=-1).healthy
        for id, text in promised.items():
            container = new_id()
            store.create_container(container, names=[container], image_id=id)
            root = Path(store.mount_container(container))
            assert (root / "d/text").read_text() == text
            store.remove_container(container)
        # And it goes on.
        id = new_id()
        store.put_image(id, layer=_add_layer(store, None, "after"), names=["localhost/after:1"], big_data={})
        assert store.image("localhost/after:1").id == id
