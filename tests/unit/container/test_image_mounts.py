"""Image volumes on a real store: mounted, pinned, removed."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import FailedPrecondition
from crio.base.executor import Executor
from crio.container.container import Container
from crio.container.image_mounts import mount_images, new_ids, unmount_images
from crio.container.record import ContainerRecord
from crio.container.specgen.input import ImageMount
from crio.container.specgen.volumes import ImageVolumeMountFailed
from crio.image.records import ImageInfo
from crio.image.service import ImageService
from crio.sandbox.record import SandboxRecord
from crio.sandbox.sandbox import Sandbox
from crio.spec.oci_runtime import IdMapping
from crio.storage.options import StoreOptions
from crio.storage.store import Store

pytestmark = pytest.mark.root

IMAGE = "ab" * 32
INFO = ImageInfo(IMAGE, ("localhost/data:1",), ("data@digest",), "", 0, "", False, lambda key: b"", lambda: "")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with one image: a directory with a file, a link to it, and one that would lead out of the image."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, target in (
            ("dir", tarfile.DIRTYPE, ""),
            ("dir/file", tarfile.REGTYPE, ""),
            ("link", tarfile.SYMTYPE, "/dir"),
            ("out", tarfile.SYMTYPE, "../../../../usr"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, target, 0o755
            archive.addfile(info)
    options = StoreOptions(graphroot=str(tmp_path / "root"), runroot=str(tmp_path / "run"), sync=False)
    with Store.open(options) as store:
        with store.stage_layer() as writer:
            writer.write(buffer.getvalue())
            layer = writer.commit(None)
        store.put_image(IMAGE, layer=layer.id, names=["localhost/data:1"], big_data={})
        yield store


def container(tmp_path: Path, *sub_paths: str) -> Container:
    config = pb.ContainerConfig(metadata=pb.ContainerMetadata(name="c"))
    for number, path in enumerate(sub_paths):
        image = pb.ImageSpec(image="localhost/data:1")
        config.mounts.append(pb.Mount(container_path=f"/v{number}", image=image, image_sub_path=path, readonly=True))
    config.mounts.append(pb.Mount(container_path="/host", host_path="/"))
    record = ContainerRecord(
        id="cd" * 32,
        name="k8s_c",
        sandbox_id="ef" * 32,
        config=config.SerializeToString(),
        created_at=1,
        image_volumes=new_ids(config),
    )
    return Container(str(tmp_path), record)


def sandbox(tmp_path: Path) -> Sandbox:
    config = pb.PodSandboxConfig(metadata=pb.PodSandboxMetadata(name="p", uid="u", namespace="n"))
    record = SandboxRecord(id="ef" * 32, name="k8s_p", config=config.SerializeToString(), created_at=1)
    return Sandbox(str(tmp_path), record)


class Origin:
    """Pulls that bring the lost layers of an image back."""

    def __init__(self, lost: str) -> None:
        self._saved = f"{lost}.saved"
        self._lost = lost
        os.rename(lost, self._saved)
        self.pulled: list[str] = []

    async def pull(self, name: str, *, namespace: str) -> ImageInfo:
        self.pulled.append(f"{namespace}: {name}")
        os.rename(self._saved, self._lost)
        return INFO


async def mount(
    store: Store, count: int, pod: Sandbox, owner: Container, origin: Origin | None = None
) -> Mapping[str, ImageMount]:
    executor = Executor("test", 1)
    try:
        return await mount_images(store, executor, cast(ImageService, origin), [INFO] * count, pod, owner)
    finally:
        executor.close()


async def test_mounted_pinned_and_removed(store: Store, tmp_path: Path) -> None:
    owner = container(tmp_path, "", "dir", "link", "dir/file")
    mounts = await mount(store, 4, sandbox(tmp_path), owner)
    assert sorted(mounts) == ["/v0", "/v1", "/v2", "/v3"]
    assert {mount.image_id for mount in mounts.values()} == {IMAGE}
    assert sorted(os.listdir(mounts["/v0"].source)) == ["dir", "link", "out"]
    assert os.listdir(mounts["/v1"].source) == os.listdir(mounts["/v2"].source) == ["file"]
    assert os.path.isfile(mounts["/v3"].source)
    with pytest.raises(OSError, match="Read-only file system"):
        os.mkdir(f"{mounts['/v0'].source}/new")
    with pytest.raises(FailedPrecondition, match="k8s_c_image-volume-0 uses it"):
        store.remove_image(IMAGE)
    for _ in range(2):
        unmount_images(store, owner.record.image_volumes)
    assert store.containers() == []
    assert not os.path.ismount(mounts["/v0"].source)
    store.remove_image(IMAGE)


@pytest.mark.parametrize(
    ("path", "reason"),
    [("absent", "does not exist"), ("out", "does not exist"), ("dir/file/x", "Not a directory"), ("a/../..", "'..'")],
)
async def test_a_sub_path_that_the_image_has_not(store: Store, tmp_path: Path, path: str, reason: str) -> None:
    owner = container(tmp_path, "dir", path)
    with pytest.raises(ImageVolumeMountFailed, match=rf"^ImageVolumeMountFailed: .*{reason}"):
        await mount(store, 2, sandbox(tmp_path), owner)
    unmount_images(store, owner.record.image_volumes)
    assert store.containers() == []


async def test_owners_are_those_of_the_pods_user_namespace(store: Store, tmp_path: Path) -> None:
    owner, pod = container(tmp_path, "dir"), sandbox(tmp_path)
    pod.record.uid_mappings = [IdMapping(0, 1_000_000, 65536)]
    pod.record.gid_mappings = [IdMapping(0, 2_000_000, 65536)]
    mounted = (await mount(store, 1, pod, owner))["/v0"]
    try:
        assert mounted.owners_mapped
        status = os.stat(f"{mounted.source}/file")
        assert (status.st_uid, status.st_gid) == (1_000_000, 2_000_000)
    finally:
        unmount_images(store, owner.record.image_volumes)


async def test_an_image_that_has_gone_meanwhile(store: Store, tmp_path: Path) -> None:
    store.remove_image(IMAGE)
    owner = container(tmp_path, "")
    with pytest.raises(ImageVolumeMountFailed, match="does not exist"):
        await mount(store, 1, sandbox(tmp_path), owner)
    unmount_images(store, owner.record.image_volumes)


async def test_a_layer_that_the_disk_has_lost_is_fetched_again(store: Store, tmp_path: Path) -> None:
    owner = container(tmp_path, "", "dir")
    origin = Origin(os.path.dirname(store.driver.own_directories(store.image(IMAGE).layer)[0]))
    mounts = await mount(store, 2, sandbox(tmp_path), owner, origin)
    assert origin.pulled == ["n: data@digest"]
    assert os.listdir(mounts["/v1"].source) == ["file"]
    unmount_images(store, owner.record.image_volumes)
    assert store.containers() == []
