"""podman, buildah and skopeo on the same store, in both directions and at the same time."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from crio.base.errors import FailedPrecondition
from crio.base.ids import new_id
from crio.linux.mount import is_mount_point, mounts_below
from crio.storage.check import check
from crio.storage.gc import collect
from crio.storage.options import StoreOptions
from crio.storage.records import ImageRecord
from crio.storage.store import Store
from store_mounts import users

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not shutil.which("podman"), reason="needs podman"),
]

TarMaker = Callable[..., bytes]
ImageMaker = Callable[..., ImageRecord]


class Tools:
    """The other tools, pointed at one store."""

    def __init__(self, options: StoreOptions, place: Path) -> None:
        self.options = options
        self.place = place
        policy = place / "policy.json"
        policy.write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
        self.environ = {**os.environ, "TMPDIR": str(place), "HOME": str(place), "XDG_CONFIG_HOME": str(place)}
        self.policy = str(policy)

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(argv, capture_output=True, text=True, env=self.environ, check=False, timeout=120)
        assert not check or result.returncode == 0, f"{argv}: {result.stderr}"
        return result

    def _store(self, program: str) -> list[str]:
        options = self.options
        return [program, "--root", options.graphroot, "--runroot", options.runroot, "--storage-driver", "overlay"]

    def podman(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(*self._store("podman"), *arguments, check=check)

    def buildah(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(*self._store("buildah"), *arguments, check=check)

    def skopeo(self, source: str, target: str) -> None:
        self.run("skopeo", "--policy", self.policy, "copy", source, target)

    def storage(self, name: str) -> str:
        return f"containers-storage:[overlay@{self.options.graphroot}+{self.options.runroot}]{name}"


@pytest.fixture
def tools(options: StoreOptions, place: Path) -> Tools:
    return Tools(options, place)


@pytest.fixture
def layers(tar: TarMaker) -> list[bytes]:
    sticky = tarfile.TarInfo("bin/ping")
    sticky.mode = 0o4755
    sticky.pax_headers = {"SCHILY.xattr.user.note": "x", "mtime": "1700000000.25"}
    link = tarfile.TarInfo("bin/link")
    link.type, link.linkname = tarfile.LNKTYPE, "bin/big"
    return [
        tar(("bin", None), ("bin/big", os.urandom(50_000)), sticky, link, ("gone", b"x"), ("d", None), ("d/old", b"1")),
        tar((".wh.gone", b""), ("d/.wh..wh..opq", b""), ("d/new", b"2"), ("same", b"x")),
    ]


def blobs_of_archive(path: Path) -> set[str]:
    with tarfile.open(path) as archive:
        return {
            hashlib.sha256(file.read()).hexdigest()
            for member in archive
            if member.isfile() and (file := archive.extractfile(member))
        }


def test_podman_sees_and_saves_what_was_written_here(
    store: Store, tools: Tools, layers: list[bytes], add_image: ImageMaker, place: Path, tar: TarMaker
) -> None:
    # One name twice: the other tools refuse to take such a layer in, but not to read it.
    layers.append(tar(("twice", b"first"), ("twice", b"second")))
    image = add_image(store, "localhost/ours:1", *layers)
    (row,) = json.loads(tools.podman("images", "--format", "json").stdout)
    assert (row["Id"], row["Names"]) == (image.id, ["localhost/ours:1"])
    assert row["Digest"] == image.digest
    inspected = json.loads(tools.podman("inspect", "--type", "image", "localhost/ours:1").stdout)[0]
    assert inspected["Size"] == store.image_size(image.id)
    tools.podman("save", "-q", "-o", str(place / "saved.tar"), "localhost/ours:1")
    assert {hashlib.sha256(layer).hexdigest() for layer in layers} <= blobs_of_archive(place / "saved.tar")
    tools.podman("create", "--name", "theirs", "localhost/ours:1")
    root = Path(tools.podman("mount", "theirs").stdout.strip())
    assert sorted(os.listdir(root)) >= ["bin", "d", "same"]
    assert (root / "d/new").read_text() == "2"
    assert not (root / "gone").exists()
    assert {record.image for record in store.containers()} == {image.id}
    with pytest.raises(FailedPrecondition, match="theirs"):
        store.remove_image(image.id)
    tools.podman("unmount", "theirs")
    tools.podman("rm", "theirs")
    assert store.containers() == []
    store.remove_image(image.id)
    assert json.loads(tools.podman("images", "--format", "json").stdout) == []


def test_skopeo_copies_out_and_in(
    store: Store, tools: Tools, layers: list[bytes], add_image: ImageMaker, place: Path
) -> None:
    image = add_image(store, "localhost/ours:1", *layers)
    tools.skopeo(tools.storage("localhost/ours:1"), f"oci:{place}/layout:1")
    tools.skopeo(tools.storage("localhost/ours:1"), f"dir:{place}/plain")
    assert store.image("localhost/ours:1") == image
    store.remove_image(image.id)
    tools.skopeo(f"oci:{place}/layout:1", tools.storage("localhost/theirs:1"))
    again = store.image("localhost/theirs:1")
    assert again.layer == image.layer
    assert [b"".join(store.layer_tar(layer.id)) for layer in store.layer_store.chain(again.layer)] == layers[::-1]
    assert check(store).healthy, check(store)


def test_an_image_of_buildah_runs_here(store: Store, tools: Tools, layers: list[bytes], add_image: ImageMaker) -> None:
    add_image(store, "localhost/base:1", *layers)
    working = tools.buildah("from", "localhost/base:1").stdout.strip()
    root = Path(tools.buildah("mount", working).stdout.strip())
    (root / "built").write_text("by buildah")
    (root / "d/new").unlink()
    tools.buildah("commit", "-q", working, "localhost/built:1")
    tools.buildah("rm", working)
    image = store.image("localhost/built:1")
    id = new_id()
    store.create_container(id, names=["k8s_x"], image_id=image.id)
    root = Path(store.mount_container(id))
    assert (root / "built").read_text() == "by buildah"
    assert not (root / "d/new").exists()
    assert (root / "bin/ping").stat().st_mode & 0o7777 == 0o4755
    assert b"".join(store.layer_tar(image.layer))
    store.remove_container(id)
    assert check(store, age=0).healthy
    assert collect(store) == []


def test_podman_spares_a_pods_container_and_its_image(
    store: Store, tools: Tools, layers: list[bytes], add_image: ImageMaker
) -> None:
    image = add_image(store, "localhost/ours:1", *layers)
    id = new_id()
    store.create_container(id, names=["k8s_x"], image_id=image.id)
    root = store.mount_container(id)
    (row,) = json.loads(tools.podman("ps", "-a", "--external", "--format", "json").stdout)
    assert row["Id"] == id
    assert tools.podman("rmi", "localhost/ours:1", check=False).returncode == 2
    tools.podman("image", "prune", "-af")
    assert "mounted" in tools.podman("rm", "k8s_x", check=False).stderr
    assert is_mount_point(root)
    assert store.image(image.id).names == ["localhost/ours:1"]
    assert os.path.exists(os.path.join(root, "bin/big"))
    assert tools.podman("mount", "k8s_x").stdout.strip() == root
    assert users(store, id) == 2
    tools.podman("unmount", "k8s_x")
    assert users(store, id) == 1
    store.remove_container(id)
    tools.podman("rmi", "localhost/ours:1")
    assert (store.images(), store.layers()) == ([], [])
    assert mounts_below(store.driver.home, include_itself=False) == []


def test_tags_move_between_tools(store: Store, tools: Tools, layers: list[bytes], add_image: ImageMaker) -> None:
    image = add_image(store, "localhost/ours:1", *layers)
    tools.podman("tag", image.id, "localhost/tagged:2")
    assert sorted(store.image(image.id).names) == ["localhost/ours:1", "localhost/tagged:2"]
    other = add_image(store, "localhost/ours:1", *layers, command="/bin/other")
    assert tools.podman("image", "inspect", "localhost/ours:1", "--format", "{{.Id}}").stdout.strip() == other.id
    assert store.image(image.id).names == ["localhost/tagged:2"]


def test_what_another_tool_left_incomplete_is_cleaned_up(
    store: Store, tools: Tools, options: StoreOptions, layers: list[bytes], add_image: ImageMaker
) -> None:
    image = add_image(store, "localhost/ours:1", *layers)
    path = Path(options.graphroot, "overlay-layers/layers.json")
    rows = json.loads(path.read_bytes())
    dead = new_id()
    rows.append({"id": dead, "created": "2020-01-01T00:00:00Z", "flags": {"incomplete": True}, "parent": image.layer})
    path.write_text(json.dumps(rows))
    assert dead not in [layer.id for layer in store.layers()]
    with Store.open(options) as again:
        assert dead not in [layer.id for layer in again.layers()]
    assert dead not in path.read_text()
    tools.podman("images")
    assert check(store).healthy, check(store)


def test_all_at_once(store: Store, tools: Tools, layers: list[bytes], add_image: ImageMaker, tar: TarMaker) -> None:
    """podman and buildah work while pods come and go and images are pulled and removed."""
    base = add_image(store, "localhost/base:1", *layers)
    add_image(store, "localhost/busy:1", layers[0])
    errors: list[BaseException] = []
    until = time.monotonic() + 6

    def repeat(work: Callable[[int], object]) -> threading.Thread:
        def loop() -> None:
            number = 0
            try:
                while time.monotonic() < until and not errors:
                    work(number)
                    number += 1
            except BaseException as error:  # noqa: BLE001 - reported below
                errors.append(error)

        thread = threading.Thread(target=loop)
        thread.start()
        return thread

    def pod(_: int) -> None:
        id = new_id()
        store.create_container(id, names=[f"k8s_{id}"], image_id=base.id)
        assert os.path.exists(os.path.join(store.mount_container(id), "bin/big"))
        store.remove_container(id)

    def pull(number: int) -> None:
        image = add_image(store, f"localhost/pulled:{number}", layers[0], tar((f"f{number}", b"x")))
        store.remove_image(image.id)

    def podman(number: int) -> None:
        tools.podman("tag", "localhost/base:1", f"localhost/tag:{number}")
        tools.podman("create", "--name", f"p{number}", "localhost/busy:1")
        tools.podman("rm", f"p{number}")
        tools.podman("untag", "localhost/base:1", f"localhost/tag:{number}")

    def buildah(_: int) -> None:
        working = tools.buildah("from", "localhost/base:1").stdout.strip()
        tools.buildah("rm", working)

    threads = [repeat(work) for work in (pod, pull, podman, buildah)]
    for thread in threads:
        thread.join()
    assert errors == []
    assert store.containers() == []
    assert sorted(name for image in store.images() for name in image.names) == ["localhost/base:1", "localhost/busy:1"]
    assert check(store, age=-1).healthy
    assert collect(store) == []
    assert mounts_below(store.driver.home, include_itself=False) == []
