"""The store after a `kill -9` at every failpoint of every change: nothing lost, nothing half, nothing left."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from crio.base import failpoints
from crio.linux.mount import unmount_below
from crio.storage import writer as _writer
from crio.storage.check import check
from crio.storage.gc import collect
from crio.storage.options import StoreOptions
from crio.storage.records import ImageRecord
from crio.storage.store import Store

assert _writer  # the child patches what is loaded
pytestmark = pytest.mark.root

TarMaker = Callable[..., bytes]
ImageMaker = Callable[..., ImageRecord]

CONTAINER, OTHER = hashlib.sha256(b"1").hexdigest(), hashlib.sha256(b"2").hexdigest()


def act(store: Store, image: ImageRecord, data: bytes, action: str) -> None:
    match action:
        case "pull":
            with store.stage_layer() as writer:
                writer.write(data)
                layer = writer.commit(image.layer)
            store.put_image("e" * 64, layer=layer.id, names=["localhost/new:1"], big_data={"manifest": b"{}"})
        case "remove image":
            store.remove_image(image.id)
        case "tag":
            store.put_image(image.id, layer=image.layer, names=["localhost/other:1"], big_data={})
        case "create":
            store.create_container(OTHER, names=["other"], image_id=image.id)
            store.mount_container(OTHER)
        case "remove container":
            store.remove_container(CONTAINER)


ACTIONS = ["pull", "remove image", "tag", "create", "remove container"]


def killed_at(hit: int, options: StoreOptions, image: ImageRecord, data: bytes, action: str) -> bool:
    """Act in a child that dies at the n-th failpoint it passes; whether it came that far."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            passed = 0
            original = failpoints.failpoint

            def failpoint(name: str) -> None:
                nonlocal passed
                passed += 1
                if passed == hit:
                    os.kill(os.getpid(), signal.SIGKILL)

            for module in list(sys.modules.values()):
                if getattr(module, "failpoint", None) is original:
                    module.failpoint = failpoint  # type: ignore[attr-defined]
            act(Store.open(options), image, data, action)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL)
    return code != 0


def leftovers(store: Store) -> list[str]:
    """What lies around in the store's directories, beyond the records' own."""
    home = Path(store.driver.home)
    ids = {layer.id for layer in store.layers()}
    found = [name for name in os.listdir(home) if name not in {*ids, "l", "tempdirs", ".has-mount-program"}]
    links = {os.readlink(link).split("/")[1] for link in (home / "l").iterdir()}
    found += sorted(links ^ ids)
    found += [str(path) for path in (home / "tempdirs").glob("temp-dir-*/*")]
    for directory in store.layer_store.directories:
        found += [name for name in os.listdir(directory) if name.startswith(".tmp")]
    return found


@pytest.mark.parametrize("action", ACTIONS)
def test_killed_at_every_point(place: Path, tar: TarMaker, add_image: ImageMaker, action: str) -> None:
    data = tar(("new", b"content" * 1000), ("a", b"changed"))
    for hit in range(1, 100):
        options = StoreOptions(str(place / f"g{hit}"), str(place / f"r{hit}"), sync=action == "pull")
        with Store.open(options) as store:
            image = add_image(store, "localhost/a:1", tar(("a", b"1")), tar(("b", b"2")))
            if action != "remove image":
                store.create_container(CONTAINER, names=["kept"], image_id=image.id)
                store.mount_container(CONTAINER)
        died = killed_at(hit, options, image, data, action)
        verify(options, image, action, finished=not died)
        unmount_below(options.graphroot)
        if not died:
            break
    assert hit > 3


def verify(options: StoreOptions, image: ImageRecord, action: str, *, finished: bool) -> None:
    with Store.open(options) as store:
        collect(store)
        for container in store.containers():
            if container.layer not in {layer.id for layer in store.layers()}:
                store.remove_container(container.id)
        collect(store)
        report = check(store)
        assert report.healthy, str(report)
        assert leftovers(store) == []
        names = {name: record.id for record in store.images() for name in record.names}
        if action != "remove image":
            assert store.image(image.id).layer == image.layer
            assert "localhost/a:1" in names
            assert b"".join(store.layer_tar(image.layer))
        kept = [container for container in store.containers() if container.id == CONTAINER]
        if action in ("pull", "tag", "create"):
            assert kept
            assert os.path.exists(os.path.join(store.mount_container(CONTAINER), "a"))
        for container in store.containers():
            store.remove_container(container.id)
        if finished and action == "pull":
            assert "localhost/new:1" in names
        for record in store.images():
            store.remove_image(record.id)
        for layer in reversed(store.layers()):
            # A layer that was pulled, and its image was not there yet when the power went.
            store.remove_layer(layer.id)
        assert leftovers(store) == []
