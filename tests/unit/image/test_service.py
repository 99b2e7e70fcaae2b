from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import images
from crio.base.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from crio.base.executor import Executor
from crio.config.model import Config
from crio.image.credentials import Credentials
from crio.image.errors import CredentialsRefused, RegistryUnavailable
from crio.image.progress import LayerState
from crio.image.pulls import PullProgress
from crio.image.service import ImageService
from crio.image.worker.messages import StoredImage
from crio.spec.oci_image import RunConfig
from crio.storage.options import StoreOptions
from crio.storage.store import Store
from fault_proxy import Fault, fault_proxy
from registry_server import PASSWORD, USER, RunningRegistry, registry

pytestmark = pytest.mark.root

BASE = images.layer({"etc": None, "etc/hello": "hello\n"})
BIG = images.layer({"big": os.urandom(3_000_000)})


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    directory = tmp_path_factory.mktemp("registry")
    first = images.layout(str(directory / "first"), layers=[BASE], run=RunConfig(user="1002", labels={"a": "b"}))
    second = images.layout(str(directory / "second"), layers=[BASE, BIG], run=RunConfig(user="www-data:5"))
    with registry(str(directory / "run")) as running:
        running.push(f"oci:{first}:localhost/test:latest", "team/first:1")
        running.push(f"oci:{first}:localhost/test:latest", "team/first:2")
        running.push(f"oci:{second}:localhost/test:latest", "team/second:1")
        yield running


class Node:
    """A service with a store and a registries.conf of its own."""

    def __init__(self, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.store = Store.open(StoreOptions(f"{root}/graph", f"{root}/run", sync=False))
        monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", f"{root}/registries.conf")
        monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF_DIR", f"{root}/registries.conf.d")
        monkeypatch.setenv("REGISTRY_AUTH_FILE", f"{root}/auth.json")
        Path(f"{root}/auth.json").write_text("{}")
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3] / "src"))
        self.executor = Executor("test", 1)
        self.service = self.make()

    def make(self, **settings: object) -> ImageService:
        config = Config()
        config = msgspec.structs.replace(config, image=msgspec.structs.replace(config.image, **settings))
        return ImageService(config, self.store, self.executor)

    def serve(self, host: str, more: str = "") -> None:
        """example.com is found at this registry."""
        with open(f"{self.root}/registries.conf", "w") as file:
            file.write(f'{more}\n[[registry]]\nprefix = "example.com"\nlocation = "{host}"\ninsecure = true\n')


@pytest.fixture
async def node(monkeypatch: pytest.MonkeyPatch, plain: RunningRegistry) -> AsyncIterator[Node]:
    root = tempfile.mkdtemp(prefix="crio-images-", dir="/dev/shm")
    made = Node(root, monkeypatch)
    made.serve(plain.host)
    yield made
    await made.service.stop()
    made.executor.close()
    made.store.close()
    subprocess.run(["umount", "-lq", f"{root}/graph/overlay"], check=False)
    shutil.rmtree(root)


async def test_pull_and_answers(node: Node) -> None:
    service = node.service
    told: list[PullProgress] = []
    image = await service.pull("example.com/team/first:1", on_progress=told.append)
    assert image.repo_tags == ("example.com/team/first:1",)
    assert image.repo_digests == (f"example.com/team/first@{image.digest}",)
    assert (image.uid, image.username) == (1002, "")
    assert image.labels == {"a": "b"}
    assert image.config_document["config"]["User"] == "1002"
    assert image.size > len(BASE)
    assert not image.pinned
    assert [stage.stage for stage in told if stage.stage][-1] == "commit"
    assert told[-1].layers[-1].state is LayerState.DONE
    digest = image.repo_digests[0]
    for name in ("example.com/team/first:1", image.id, image.id[:12], f"sha256:{image.id}", digest,
                 f"example.com/team/first:whatever@{image.digest}", "docker://example.com/team/first:1"):  # fmt: skip
        assert service.resolve(name) is service.status(name)
        assert service.resolve(name).id == image.id
    for unknown in ("example.com/team/first:9", "example.com/other@" + image.digest, "f" * 64, "zzz", "UPPER/x", "ab"):
        assert service.status(unknown) is None
        assert service.list(unknown) == []
    with pytest.raises(NotFound, match="pull it first"):
        service.resolve("example.com/none:1")
    second = await service.pull("example.com/team/second:1")
    assert (second.uid, second.username) == (None, "www-data")
    assert {info.id for info in service.list()} == {image.id, second.id}
    assert [info.id for info in service.list("example.com/team/second:1")] == [second.id]
    usage = await service.fs_info()
    assert usage.used_bytes >= len(BASE) + len(BIG)
    assert usage.mountpoint == f"{node.root}/graph"
    assert service.pulls() == []


async def test_names(node: Node, plain: RunningRegistry) -> None:
    service = node.service
    first = await service.pull("example.com/team/first:1")
    again = await service.pull("example.com/team/first:2")
    by_digest = await service.pull(f"example.com/team/first@{first.digest}")
    both = await service.pull(f"example.com/team/first:3@{first.digest}")
    assert first.id == again.id == by_digest.id == both.id
    assert set(both.repo_tags) == {"example.com/team/first:1", "example.com/team/first:2"}
    assert both.repo_digests == (f"example.com/team/first@{first.digest}",)
    # A tag that moves leaves its old image.
    plain.push(f"docker://{plain.host}/team/second:1", "team/moving:1", "--src-tls-verify=false")
    moving = await service.pull("example.com/team/moving:1")
    plain.push(f"docker://{plain.host}/team/first:1", "team/moving:1", "--src-tls-verify=false")
    moved = await service.pull("example.com/team/moving:1")
    assert moved.id == first.id
    left = service.resolve(moving.id)
    assert left.repo_tags == ()
    assert left.repo_digests == moving.repo_digests
    assert service.resolve(f"example.com/team/moving@{moving.digest}").id == moving.id
    assert service.resolve(f"example.com/team/moving@{first.digest}").id == first.id
    assert service.status(f"example.com/team/first@{moving.digest}") is None
    # Whichever name is given, all of them go.
    assert await service.remove("example.com/team/first:2")
    assert service.status(first.id) is None
    assert service.status("example.com/team/moving:1") is None
    assert not await service.remove("example.com/team/first:2")
    assert await service.remove(moving.id)
    assert node.store.layers() == []


async def test_an_image_that_has_lost_a_layer_is_listed_and_fetched_again(node: Node) -> None:
    whole = await node.service.pull("example.com/team/first:1")
    image = await node.service.pull("example.com/team/second:1")
    with node.store.layer_store.table.writing() as edit:
        edit.drop(node.store.image(image.id).layer)
        edit.save()
    service = node.make()
    listed = {info.id: info for info in service.list()}
    assert listed.keys() == {whole.id, image.id}
    assert listed[image.id].size < image.size
    assert listed[image.id].repo_digests == image.repo_digests
    assert (await service.pull("example.com/team/second:1")).id == image.id
    assert service.resolve(image.id).size == image.size
    await service.stop()


async def test_an_image_that_goes_while_all_are_listed(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    one = await node.service.pull("example.com/team/first:1")
    two = await node.service.pull("example.com/team/second:1")
    records = node.store.images()
    node.store.remove_image(two.id)
    service = node.make()
    with monkeypatch.context() as between:
        between.setattr(node.store, "images", lambda: records)
        assert one.id in {info.id for info in service.list()}
    assert [info.id for info in service.list()] == [one.id]
    await service.stop()


async def test_short_names(node: Node, plain: RunningRegistry) -> None:
    node.serve(plain.host, 'unqualified-search-registries = ["example.com"]\n[aliases]\nx = "example.com/team/second"')
    service = node.service
    image = await service.pull("team/first:1")
    assert image.repo_tags == ("example.com/team/first:1",)
    assert service.resolve("team/first:1").id == image.id
    assert (await service.pull("x:1")).repo_tags == ("example.com/team/second:1",)
    node.serve(plain.host, 'unqualified-search-registries = ["a.invalid", "example.com"]')
    with pytest.raises(FailedPrecondition, match="enforcing"):
        await service.pull("team/first:1")


async def test_mirrors(node: Node, plain: RunningRegistry) -> None:
    mirrors = "".join(
        f'[[registry.mirror]]\nlocation = "{place}"\ninsecure = true\n'
        for place in ("127.0.0.1:1/gone", f"{plain.host}/empty", f"{plain.host}/team")
    )
    Path(f"{node.root}/registries.conf").write_text(
        f'[[registry]]\nprefix = "mirrored.com/some"\nlocation = "127.0.0.1:2"\n{mirrors}'
    )
    image = await node.service.pull("mirrored.com/some/first:1")
    assert image.repo_tags == ("mirrored.com/some/first:1",)
    with pytest.raises(RegistryUnavailable, match=r"127\.0\.0\.1:2: connection refused \(before that: .*:1"):
        await node.service.pull("mirrored.com/some/first:nothing")


async def test_identical_pulls_are_one(node: Node, plain: RunningRegistry) -> None:
    with fault_proxy(plain.host) as proxy:
        node.serve(proxy.host)
        proxy.faults["/blobs/"] = [Fault(piece=200_000, hold_after=400_000, times=99)]
        seen: list[PullProgress] = []
        pulls = [asyncio.create_task(node.service.pull("example.com/team/second:1")) for _ in range(4)]
        while not any(p.bytes_done for p in node.service.pulls()):
            await asyncio.sleep(0.02)
        (status,) = node.service.pulls()
        assert status.image == "example.com/team/second:1"
        assert status.waiters == 4
        assert status.bytes_total > 3_000_000
        late = asyncio.create_task(node.service.pull("example.com/team/second:1", on_progress=seen.append))
        pulls[0].cancel()
        await asyncio.sleep(0)
        proxy.released.set()
        found = await asyncio.gather(*pulls[1:], late)
        assert len({image.id for image in found}) == 1
        assert len(proxy.paths("/manifests/")) == 1
        # Who comes later is first told how far it is.
        assert len(seen[0].layers) == 2


async def test_a_pull_goes_on_after_its_callers_deadline(node: Node, plain: RunningRegistry) -> None:
    with fault_proxy(plain.host) as proxy:
        node.serve(proxy.host)
        proxy.faults["/blobs/"] = [Fault(piece=200_000, hold_after=400_000, times=99)]
        now = asyncio.get_running_loop().time()
        with pytest.raises(DeadlineExceeded, match="goes on"):
            await node.service.pull("example.com/team/second:1", deadline=now + 0.6)
        proxy.released.set()
        image = await node.service.pull("example.com/team/second:1")
        assert image.repo_tags == ("example.com/team/second:1",)
        assert len(proxy.paths("/manifests/")) == 1


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("", InvalidArgument),
        ("Bad//Name", InvalidArgument),
        ("example.com/team/none:1", NotFound),
        ("example.com/team/first@sha256:" + "0" * 64, NotFound),
        ("127.0.0.1:1/x:1", RegistryUnavailable),
        ("blocked.com/x:1", PermissionDenied),
        ("oci:/nowhere:x", NotFound),
    ],
)
async def test_errors_cross_the_process_border(
    node: Node, plain: RunningRegistry, name: str, error: type[Exception]
) -> None:
    node.serve(plain.host, '[[registry]]\nprefix = "blocked.com"\nblocked = true')
    with pytest.raises(error):
        await node.service.pull(name)
    assert list(node.service.list()) == []
    assert node.service.pulls() == []


async def test_broken_registries_conf_is_named(node: Node) -> None:
    Path(f"{node.root}/registries.conf").write_text("[[registry")
    with pytest.raises(InvalidArgument, match=r"registries\.conf"):
        await node.service.pull("example.com/team/first:1")


async def test_credentials(node: Node, tmp_path: Path) -> None:
    layout = images.layout(str(tmp_path / "layout"), layers=[BASE])
    with registry(str(tmp_path / "run"), htpasswd=True) as locked:
        locked.push(f"oci:{layout}:localhost/test:latest", "team/secret:1")
        # The name in the store has no port here, and an auth file may say either.
        Path(f"{node.root}/registries.conf").write_text(f'[[registry]]\nlocation = "{locked.host}"\ninsecure = true\n')
        name = f"{locked.host}/team/secret:1"
        with pytest.raises(CredentialsRefused):
            await node.service.pull(name)
        with pytest.raises(CredentialsRefused) as caught:
            await node.service.pull(name, Credentials(USER, "hunter2"))
        assert "hunter2" not in caught.value.message
        assert await node.service.pull(name, Credentials(USER, PASSWORD))


@pytest.mark.parametrize("removals", [1, 99])
async def test_an_image_that_is_removed_as_it_comes_is_pulled_again(
    node: Node, monkeypatch: pytest.MonkeyPatch, removals: int
) -> None:
    pull = node.service.workers.pull
    removed: list[str] = []

    async def pull_and_lose(*arguments: Any) -> tuple[StoredImage, ...]:
        stored = await pull(*arguments)
        if len(removed) < removals:
            await node.executor.run(node.store.remove_image, stored[0].id)
            removed.append(stored[0].id)
        return stored

    monkeypatch.setattr(node.service.workers, "pull", pull_and_lose)
    if removals == 1:
        image = await node.service.pull("example.com/team/first:1")
        assert node.service.status("example.com/team/first:1") is image
        assert removed == [image.id]
    else:
        with pytest.raises(Unavailable, match="removed as soon as it is there"):
            await node.service.pull("example.com/team/first:1")


async def test_a_killed_worker_is_a_clear_error(node: Node, plain: RunningRegistry) -> None:
    with fault_proxy(plain.host) as proxy:
        node.serve(proxy.host)
        proxy.faults["/blobs/"] = [Fault(piece=100_000, hold_after=500_000, times=99)]
        pull = asyncio.create_task(node.service.pull("example.com/team/second:1"))
        while not any(p.bytes_done for p in node.service.pulls()):
            await asyncio.sleep(0.02)
        pid = node.service.workers.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(Unavailable, match=r"SIGKILL; try again"):
            await pull
        assert list(node.service.list()) == []
        proxy.faults.clear()
        image = await node.service.pull("example.com/team/second:1")
        assert len(node.store.layers()) == 2
        assert node.store.image(image.id).names == ["example.com/team/second:1"]
    _nothing_staged(node)


async def test_a_killed_workers_pull_goes_on_where_it_was(node: Node, plain: RunningRegistry) -> None:
    with fault_proxy(plain.host) as proxy:
        node.serve(proxy.host)
        proxy.faults["/blobs/"] = [Fault(piece=1 << 16, pause=0.06, hold_after=2_500_000, times=3), Fault(times=99)]
        before = (await node.service.fs_info()).used_bytes
        pull = asyncio.create_task(node.service.pull("example.com/team/second:1"))
        while not any(layer.done > 2_000_000 for status in node.service.pulls() for layer in status.layers.values()):
            assert not pull.done()
            await asyncio.sleep(0.01)
        worker = node.service.workers.pid()
        assert worker is not None
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(Unavailable, match="SIGKILL"):
            await pull
        assert (await node.service.fs_info()).used_bytes > before, "what is kept is counted"
        begun = len(proxy.seen)
        image = await node.service.pull("example.com/team/second:1")
        asked = [request.headers.get("range", "") for request in proxy.seen[begun:] if "/blobs/" in request.path]
        assert any(int(text.partition("=")[2].partition("-")[0]) > 1_400_000 for text in asked if text)
    assert image.repo_tags == ("example.com/team/second:1",)
    assert os.listdir(f"{node.root}/graph/tmp/crio-blobs") == []
    _nothing_staged(node)


async def test_a_deadline_tells_how_far_the_pull_is(node: Node, plain: RunningRegistry) -> None:
    with fault_proxy(plain.host) as proxy:
        node.serve(proxy.host)
        proxy.faults["/blobs/"] = [Fault(piece=1 << 14, pause=0.05, times=99)]
        pull = asyncio.create_task(node.service.pull("example.com/team/second:1"))
        while not any(status.bytes_total for status in node.service.pulls()):
            await asyncio.sleep(0.01)
        deadline = asyncio.get_running_loop().time()
        words = r"goes on.*\(stage 'fetch', \d\.\d of 3\.\d MB at .* of 2 layers\)"
        with pytest.raises(DeadlineExceeded, match=words):
            await node.service.pull("example.com/team/second:1", deadline=deadline)
        assert not pull.done()
        await node.service.stop()
        with pytest.raises(Cancelled):
            await pull


async def test_stop_ends_pulls_and_leaves_nothing(node: Node, plain: RunningRegistry) -> None:
    with fault_proxy(plain.host) as proxy:
        node.serve(proxy.host)
        proxy.faults["/blobs/"] = [Fault(piece=100_000, hold_after=500_000, times=99)]
        pull = asyncio.create_task(node.service.pull("example.com/team/second:1"))
        while not any(p.bytes_done for p in node.service.pulls()):
            await asyncio.sleep(0.02)
        pid = node.service.workers.pid()
        assert pid is not None
        await node.service.stop()
        with pytest.raises(Cancelled):
            await pull
        assert not os.path.exists(f"/proc/{pid}")
        with pytest.raises(Cancelled):
            await node.service.pull("example.com/team/first:1")
    _nothing_staged(node)


async def test_no_progress_is_an_end(node: Node, plain: RunningRegistry) -> None:
    service = node.make(pull_progress_timeout=0.5)
    with fault_proxy(plain.host) as proxy:
        node.serve(proxy.host)
        proxy.faults["/blobs/"] = [Fault(piece=10_000, pause=20, times=99)]
        with pytest.raises(DeadlineExceeded, match=r"no progress for 0\.5 s"):
            await service.pull("example.com/team/second:1")
    await service.stop()
    _nothing_staged(node)


async def test_pins(node: Node) -> None:
    service = node.make(pinned_images=("example.com/team/f*",), pause_image="example.com/team/second:1")
    await service.pull("example.com/team/first:1")
    await service.pull("example.com/team/second:1")
    assert all(image.pinned for image in service.list())
    service.reload(Config())
    assert not any(image.pinned for image in service.list())
    await service.stop()


async def test_used_images_stay(node: Node) -> None:
    image = await node.service.pull("example.com/team/first:1")
    node.store.create_container("c" * 64, names=["c"], image_id=image.id, metadata="{}")
    with pytest.raises(FailedPrecondition, match="container c uses it"):
        await node.service.remove("example.com/team/first:1")
    node.store.remove_container("c" * 64)
    assert await node.service.remove(image.id)


async def test_what_other_tools_change_is_seen(node: Node, plain: RunningRegistry) -> None:
    where = ["--root", f"{node.root}/graph", "--runroot", f"{node.root}/run"]
    image = await node.service.pull("example.com/team/first:1")
    _run("podman", *where, "tag", image.id, "localhost/mine:1")
    assert node.service.resolve("mine:1").id == image.id
    pulled = _run("podman", *where, "pull", "-q", "--tls-verify=false", f"{plain.host}/team/second:1").strip()
    assert node.service.resolve(pulled).username == "www-data"
    _run("podman", *where, "rmi", "-f", image.id)
    assert node.service.status(image.id) is None


async def test_load(node: Node, tmp_path: Path) -> None:
    service = node.service
    layout = images.layout(str(tmp_path / "layout"), "localhost/test:1", [BASE, BIG])
    archive = images.archive_of(layout, str(tmp_path / "image.tar"))
    (from_layout,) = await service.load(layout)
    assert from_layout.repo_tags == ("localhost/test:1",)
    (from_archive,) = await service.load(archive, ["example.com/mine:2"])
    assert from_archive.id == from_layout.id
    assert set(from_archive.repo_tags) == {"localhost/test:1", "example.com/mine:2"}
    docker, directory = tmp_path / "docker.tar", tmp_path / "dir"
    _run("skopeo", "--insecure-policy", "copy", "-q", f"oci:{layout}:localhost/test:1",
         f"docker-archive:{docker}:example.com/from/docker:3")  # fmt: skip
    (from_docker,) = await service.load(str(docker))
    assert from_docker.repo_tags[-1] == "example.com/from/docker:3"
    assert from_docker.config.diff_ids == from_layout.config.diff_ids
    _run("gzip", "-k", str(docker))
    assert (await service.load(f"{docker}.gz"))[0].id == from_docker.id
    _run("skopeo", "--insecure-policy", "copy", "-q", f"oci:{layout}:localhost/test:1", f"dir:{directory}")
    assert (await service.load(str(directory), ["example.com/dir:1"]))[0].id == from_layout.id
    assert (await service.pull(f"oci-archive:{archive}:localhost/test:1")).id == from_layout.id
    for bad, error in (("relative", InvalidArgument), (str(tmp_path), InvalidArgument), ("/dev/null", InvalidArgument)):
        with pytest.raises(error):
            await service.load(bad)
    with pytest.raises(NotFound, match="no such file"):
        await service.load("/nowhere/at/all")


async def test_names_with_transports(node: Node, tmp_path: Path) -> None:
    layout = images.layout(str(tmp_path / "layout"), "localhost/mine:1", layers=[BASE])
    service = node.make(default_transport=f"oci:{tmp_path}/")
    try:
        image = await service.pull("layout:1")
        assert (await service.pull(f"oci:{layout}:localhost/mine:1")).id == image.id
        assert (await service.pull(f"docker-archive:{_saved(layout, tmp_path)}:example.com/saved:2")).id == image.id
        assert (await service.pull("containers-storage:localhost/mine:1")).id == image.id
        with pytest.raises(NotFound):
            await service.pull("containers-storage:localhost/mine:2")
        with pytest.raises(NotFound, match="there is none"):
            await service.pull(f"containers-storage:[overlay@{tmp_path}/none+{tmp_path}/run]localhost/mine:1")
        with pytest.raises(InvalidArgument, match="not an absolute path"):
            await service.pull("dir:relative/path")
        assert (await service.pull("docker://example.com/team/first:1")).repo_tags[-1] == "example.com/team/first:1"
    finally:
        await service.stop()


def _saved(layout: str, directory: Path) -> str:
    """The same image as an archive of `docker save`, under another name."""
    path = f"{directory}/saved.tar"
    argv = ["skopeo", "--insecure-policy", "copy", "-q", f"oci:{layout}:localhost/mine:1"]
    subprocess.run([*argv, f"docker-archive:{path}:example.com/saved:2"], check=True)
    return path


async def test_the_worker_leaves_when_idle_and_comes_back(node: Node) -> None:
    service = node.make()
    service.workers.main.idle = 0.2
    await service.pull("example.com/team/first:1")
    pid = service.workers.pid()
    assert pid is not None
    while os.path.exists(f"/proc/{pid}"):
        await asyncio.sleep(0.05)
    assert service.workers.pid() is None
    service.workers.main.idle = 30.0
    await service.pull("example.com/team/second:1")
    assert service.workers.pid() not in (None, pid)
    await service.stop()


async def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: RunningRegistry
) -> None:
    root = tmp_path / "small"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", root], check=True)
    try:
        node = Node(str(root), monkeypatch)
        node.serve(plain.host)
        with pytest.raises(ResourceExhausted, match="space"):
            await node.service.pull("example.com/team/second:1")
        assert (await node.service.pull("example.com/team/first:1")).repo_tags == ("example.com/team/first:1",)
        _nothing_staged(node)
        await node.service.stop()
        node.executor.close()
        node.store.close()
    finally:
        subprocess.run(["umount", "-Rl", root], check=True)


async def test_the_worker_dies_with_the_daemon(node: Node, plain: RunningRegistry, tmp_path: Path) -> None:
    script = tmp_path / "daemon.py"
    script.write_text(
        "import asyncio, sys\n"
        "from crio.base.executor import Executor\n"
        "from crio.config.model import Config\n"
        "from crio.image.service import ImageService\n"
        "from crio.storage.options import StoreOptions\n"
        "from crio.storage.store import Store\n"
        "async def main():\n"
        "    store = Store.open(StoreOptions(sys.argv[1], sys.argv[2], sync=False))\n"
        "    service = ImageService(Config(), store, Executor('daemon', 1))\n"
        "    seen = lambda p: print(service.workers.pid(), flush=True) if any(l.done for l in p.layers) else None\n"
        "    await service.pull('example.com/team/second:1', on_progress=seen)\n"
        "asyncio.run(main())\n"
    )
    with fault_proxy(plain.host) as proxy:
        node.serve(proxy.host)
        proxy.faults["/blobs/"] = [Fault(piece=100_000, hold_after=500_000, times=99)]
        daemon = subprocess.Popen(
            [sys.executable, str(script), f"{node.root}/graph", f"{node.root}/run"], stdout=subprocess.PIPE
        )
        assert daemon.stdout is not None
        worker = int(await asyncio.to_thread(daemon.stdout.readline))
        daemon.kill()
        daemon.wait()
        daemon.stdout.close()
        async with asyncio.timeout(60):
            while _alive(worker):
                await asyncio.sleep(0.05)
        proxy.faults.clear()
        await node.service.pull("example.com/team/second:1")
    _nothing_staged(node)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _nothing_staged(node: Node) -> None:
    """The store's own cleaning, which any opening does, finds nothing that stays."""
    Store.open(StoreOptions(f"{node.root}/graph", f"{node.root}/run", sync=False)).close()
    for place in ("overlay/tempdirs", "overlay-layers/tmp"):
        directory = Path(node.root, "graph", place)
        assert not directory.exists() or not [p for p in directory.rglob("*") if "addition" in p.name]


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
