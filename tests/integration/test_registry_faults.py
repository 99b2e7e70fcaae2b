"""What becomes of a pull when the registry, or the way to it, is broken: the table in docs/images.md, line by line.

One daemon, Debian's docker-registry, and a proxy between them that breaks answers.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import images
from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import Code
from crio.rpc.status import RpcError
from fault_proxy import Fault, FaultProxy, fault_proxy
from node import Node, until
from registry_server import PASSWORD, USER, RunningRegistry, make_certificate, registry
from token_server import token_server

pytestmark = pytest.mark.root

LAYER = images.layer({"etc": None, "etc/hello": "hello\n", "noise": os.urandom(3_000_000)})
NAME = "team/app:1"


@dataclass
class Bed:
    """A daemon, and three registries behind faulty proxies: open, with a password, and with tokens."""

    node: Node
    proxies: dict[str, FaultProxy]
    registry: RunningRegistry

    async def pull(self, front: str = "open", password: str = "") -> str:
        auth = pb.AuthConfig(username=USER, password=password) if password else None
        request = pb.PullImageRequest(image=pb.ImageSpec(image=f"{self.proxies[front].host}/{NAME}"), auth=auth)
        return (await self.node.call("PullImage", request, pb.PullImageResponse)).image_ref

    async def images(self) -> list[str]:
        response = await self.node.call("ListImages", pb.ListImagesRequest(), pb.ListImagesResponse)
        return [image.id for image in response.images]

    async def remove(self, image: str) -> None:
        request = pb.RemoveImageRequest(image=pb.ImageSpec(image=image))
        await self.node.call("RemoveImage", request, pb.RemoveImageResponse)

    def is_idle(self) -> bool:
        """Whether the worker, if there is one, has no thread but its first."""
        tasks = (Path(f"/proc/{pid}/task") for pid in self.node.children(b"crio.image.worker"))
        return all(len(os.listdir(task)) == 1 for task in tasks if task.exists())


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    directory = tmp_path_factory.mktemp("registries")
    layout = images.layout(str(directory / "layout"), layers=[LAYER])
    root = Path(f"/dev/shm/crio-test-{uuid.uuid4().hex[:8]}")
    root.mkdir()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, root, True)
        front = make_certificate(str(directory), "front")
        tokens = stack.enter_context(token_server(str(directory)))
        authorities = directory / "authorities"
        authorities.write_text(Path(front[0]).read_text() + Path(tokens.certificate).read_text())
        backs = {
            "open": stack.enter_context(registry(str(directory / "open"))),
            "password": stack.enter_context(registry(str(directory / "password"), htpasswd=True)),
            "token": stack.enter_context(registry(str(directory / "token"), auth=tokens.section())),
        }
        backs["token"].push(f"oci:{layout}:localhost/test:latest", NAME, "--dest-creds", f"{USER}:{PASSWORD}")
        for name in ("open", "password"):
            backs[name].push(f"oci:{layout}:localhost/test:latest", NAME)
        proxies = {
            name: stack.enter_context(fault_proxy(back.host, None if name == "open" else front))
            for name, back in backs.items()
        }
        node = Node(root, env={"SSL_CERT_FILE": str(authorities)})
        (root / "registries.conf").write_text(f'[[registry]]\nlocation = "{proxies["open"].host}"\ninsecure = true\n')
        config = root / "conf.d" / "10-pulls.conf"
        config.write_text('[crio.image]\npull_progress_timeout = "5s"\n')
        try:
            asyncio.run(_start(node))
            yield Bed(node, proxies, backs["open"])
            assert asyncio.run(node.stop()) == 0
        finally:
            if node.process is not None and node.process.poll() is None:
                node.kill()


async def _start(node: Node) -> None:
    await node.start()
    await node.close_client()


@pytest.fixture(autouse=True)
async def _nothing_left(bed: Bed) -> AsyncIterator[None]:
    """Whatever a test did, no image, no half of one, and no thread of the worker stays."""
    yield
    for proxy in bed.proxies.values():
        proxy.faults.clear()
        proxy.seen.clear()
    for image in await bed.images():
        await bed.remove(image)
    await bed.node.close_client()
    storage = bed.node.root / "storage"
    for place in (storage / "overlay" / "tempdirs", storage / "overlay-layers" / "tmp"):
        for path, directories, files in os.walk(place):
            if os.path.basename(path).startswith("temp-dir-"):
                assert not directories, path
                assert not files, path
    assert [path for path in (storage / "overlay").iterdir() if len(path.name) == 64] == []
    await until("the worker has no threads left", bed.is_idle)


@dataclass
class Case:
    faults: list[Fault]
    part: str = "/blobs/"
    code: Code | None = None
    """How it fails; None: the image is pulled."""
    words: tuple[str, ...] = ()
    check: Callable[[FaultProxy], None] = field(default=lambda proxy: None)


def _resumed(proxy: FaultProxy) -> None:
    starts = [request.headers.get("range", "") for request in proxy.seen if "/blobs/" in request.path]
    assert any(int(text.partition("=")[2].partition("-")[0]) >= 1_000_000 for text in starts if text)


CASES = {
    "nothing is wrong": Case([]),
    "cut after N bytes": Case([Fault(), Fault(cut_after=1_000_000), Fault(cut_after=1_000_000)], check=_resumed),
    "cut, and no ranges": Case([Fault(cut_after=1_000_000), Fault(ignore_range=True, times=9)]),
    "cut again and again": Case(
        [Fault(cut_after=1000, times=99)], code=Code.UNAVAILABLE, words=("RegistryUnavailable: ", "ends at ", "bytes")
    ),
    "cut in the manifest": Case([Fault(cut_after=50)], part="/manifests/"),
    "slow": Case([Fault(piece=1 << 16, pause=0.02, times=9)]),
    "stalled": Case(
        [Fault(piece=1000, pause=15, times=99)], code=Code.DEADLINE_EXCEEDED, words=("no progress for 5 s", "MB/s")
    ),
    "429, soon again": Case([Fault(status=429, headers={"Retry-After": "1"})], part="/manifests/"),
    "429, much later": Case(
        [Fault(status=429, headers={"Retry-After": "3600"}, times=9)],
        part="/manifests/",
        code=Code.UNAVAILABLE,
        words=("RegistryUnavailable: ", "429"),
    ),
    "500 and well again": Case([Fault(status=500), Fault(status=503)]),
    "500 for good": Case(
        [Fault(status=500, times=99)], "/manifests/", code=Code.UNAVAILABLE, words=("RegistryUnavailable: ", "500")
    ),
    "too long": Case([Fault(extra_length=10, times=99)], code=Code.DATA_LOSS, words=("bytes and not",)),
    "too short": Case([Fault(extra_length=-10, times=99)], code=Code.DATA_LOSS, words=("bytes and not",)),
    "wrong digest of a blob": Case([Fault(flip=100, times=99)], code=Code.DATA_LOSS, words=("digest",)),
    "wrong digest of a layer": Case(
        [Fault(flip=1_000_000, times=99, ignore_range=True)], code=Code.DATA_LOSS, words=("digest",)
    ),
    "rubbish in place of a manifest": Case(
        [Fault(status=200, body=b"<html>", times=9)], "/manifests/", code=Code.INVALID_ARGUMENT, words=("manifest",)
    ),
    "gone": Case([Fault(status=404, times=9)], code=Code.NOT_FOUND, words=("blob",)),
}


@pytest.mark.parametrize("name", CASES)
async def test_outcome(bed: Bed, name: str) -> None:
    case = CASES[name]
    proxy = bed.proxies["open"]
    proxy.faults[case.part] = list(case.faults)
    if case.code is None:
        image = await bed.pull()
        assert image in await bed.images()
        case.check(proxy)
        return
    with pytest.raises(RpcError) as caught:
        await bed.pull()
    assert caught.value.code == case.code, caught.value
    for word in case.words:
        assert word in str(caught.value)
    assert await bed.images() == []
    proxy.faults.clear()
    await bed.pull()


@pytest.mark.parametrize("front", ["password", "token"])
async def test_with_tls_and_credentials(bed: Bed, front: str) -> None:
    proxy = bed.proxies[front]
    proxy.faults["/blobs/"] = [Fault(status=500), Fault(cut_after=1_500_000), Fault(cut_after=100)]
    assert await bed.pull(front, PASSWORD) in await bed.images()
    for image in await bed.images():
        await bed.remove(image)
    for password in ("", "wr0ng"):
        with pytest.raises(RpcError) as caught:
            await bed.pull(front, password)
        assert caught.value.code == Code.PERMISSION_DENIED
        assert "wr0ng" not in str(caught.value)


@pytest.mark.parametrize("front", ["open", "password", "token"])
async def test_a_redirect_to_another_host_sees_no_credentials(bed: Bed, front: str) -> None:
    with fault_proxy(bed.registry.host, _certificate(bed, front)) as other:
        scheme = "http" if front == "open" else "https"
        proxy = bed.proxies[front]
        digests = _layer_digests(bed)
        for digest in digests:
            target = f"{scheme}://{other.host}/v2/team/app/blobs/{digest}"
            proxy.faults[f"/blobs/{digest}"] = [Fault(status=307, headers={"Location": target}, times=9)]
        assert await bed.pull(front, "" if front == "open" else PASSWORD) in await bed.images()
        assert len(other.seen) >= len(digests)
        assert not any("authorization" in request.headers for request in other.seen)
        if front != "open":
            assert any("authorization" in request.headers for request in proxy.seen)


async def test_a_redirect_away_from_tls_is_refused(bed: Bed) -> None:
    proxy = bed.proxies["password"]
    target = f"http://{bed.registry.host}/v2/team/app/blobs/sha256:{'0' * 64}"
    proxy.faults["/blobs/"] = [Fault(status=307, headers={"Location": target}, times=9)]
    with pytest.raises(RpcError, match="has no TLS"):
        await bed.pull("password", PASSWORD)


def _certificate(bed: Bed, front: str) -> tuple[str, str] | None:
    if front == "open":
        return None
    directory = Path(bed.registry.directory).parent
    return str(directory / "front.crt"), str(directory / "front.key")


def _layer_digests(bed: Bed) -> list[str]:
    blobs = Path(bed.registry.directory, "data/docker/registry/v2/repositories/team/app/_layers/sha256")
    return [f"sha256:{path.name}" for path in blobs.iterdir()]
