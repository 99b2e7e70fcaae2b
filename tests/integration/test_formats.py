"""Every form in which images come, made by the tools that make them, pulled or loaded, and run as a container."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import json
import lzma
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

import images
from crio.api.runtime.v1 import api_pb2 as pb
from crio.image.platforms import host_platform
from crio.spec import oci_image
from images import LayoutBuilder
from node import Node
from registry_server import RunningRegistry, registry, run
from zstd_chunked import chunked

pytestmark = [pytest.mark.root, pytest.mark.parametrize("node", ["crun"], indirect=True)]

BUSYBOX = Path(images.BUSYBOX).read_bytes()
ROOT = images.layer({"bin": None, "bin/sh": BUSYBOX, "bin/cat": "->sh", "etc": None}, mode=0o755)


class Bench:
    """Where images are made: a registry, a directory, and a layout of each with a file that says its name."""

    def __init__(self, directory: Path, running: RunningRegistry) -> None:
        self.directory = directory
        self.registry = running

    def marker(self, name: str) -> bytes:
        return images.layer({"etc/format": f"this is {name}\n"})

    def layout(self, name: str) -> str:
        """An OCI layout with gzip layers, as skopeo names its source."""
        place = images.layout(str(self.directory / f"{name}-layout"), layers=[ROOT, self.marker(name)])
        return f"oci:{place}:localhost/test:latest"

    def skopeo(self, source: str, target: str, *options: str) -> str:
        run("skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", *options, source, target)
        return target

    def pushed(self, name: str, source: str, *options: str) -> str:
        self.registry.push(source, f"{name}:1", *options)
        return f"{self.registry.host}/{name}:1"

    def packed(self, name: str, pack: Callable[[bytes], bytes], kind: str, **notes: Mapping[str, str]) -> str:
        """A layout whose second layer is packed in this way."""
        tars = [ROOT, self.marker(name)]
        builder = LayoutBuilder(str(self.directory / f"{name}-made"))
        layers = [builder.blob(gzip.compress(ROOT, 1), oci_image.LAYER_GZIP)]
        layers.append(builder.blob(pack(tars[1]), oci_image.LAYER + kind, **notes))
        config = builder.config(tars, architecture=host_platform().architecture)
        builder.finish({"1": builder.manifest(config, layers)})
        return f"oci:{builder.directory}:1"

    def with_history(self, name: str) -> str:
        """A layout whose configuration tells how each layer was made: schema 1 needs that."""
        tars = [ROOT, self.marker(name)]
        builder = LayoutBuilder(str(self.directory / f"{name}-made"))
        layers = [builder.blob(gzip.compress(tar, 1), oci_image.LAYER_GZIP) for tar in tars]
        history = [{"created": "2024-01-01T00:00:00Z", "created_by": f"step {number}"} for number in range(2)]
        config = builder.config(tars, architecture=host_platform().architecture, history=history)
        builder.finish({"1": builder.manifest(config, layers)})
        return f"oci:{builder.directory}:1"


def gzip_by_registry(bench: Bench, name: str) -> str:
    return bench.pushed(name, bench.layout(name))


def schema_2(bench: Bench, name: str) -> str:
    return bench.pushed(name, bench.layout(name), "--format", "v2s2")


def schema_1(bench: Bench, name: str) -> str:
    """The registry signs it."""
    return bench.pushed(name, bench.with_history(name), "--format", "v2s1")


def schema_1_unsigned(bench: Bench, name: str) -> str:
    source = bench.skopeo(bench.with_history(name), f"dir:{bench.directory}/{name}-signed", "--format", "v2s1")
    directory = source.removeprefix("dir:")
    document = json.loads(Path(directory, "manifest.json").read_text())
    document.pop("signatures", None)
    Path(directory, "manifest.json").write_text(json.dumps(document))
    return source


def zstd_by_registry(bench: Bench, name: str) -> str:
    plain = bench.skopeo(bench.layout(name), f"dir:{bench.directory}/{name}-plain", "--dest-decompress")
    return bench.pushed(name, plain, "--dest-compress-format", "zstd", "--format", "oci")


def uncompressed(bench: Bench, name: str) -> str:
    return bench.skopeo(bench.layout(name), f"dir:{bench.directory}/{name}-plain", "--dest-decompress")


def directory(bench: Bench, name: str) -> str:
    return bench.skopeo(bench.layout(name), f"dir:{bench.directory}/{name}-dir")


def oci_layout(bench: Bench, name: str) -> str:
    return bench.skopeo(bench.layout(name), f"oci:{bench.directory}/{name}-oci:tag")


def oci_archive(bench: Bench, name: str) -> str:
    return bench.skopeo(bench.layout(name), f"oci-archive:{bench.directory}/{name}.tar:example.com/archived:2")


def docker_archive(bench: Bench, name: str) -> str:
    return bench.skopeo(bench.layout(name), f"docker-archive:{bench.directory}/{name}.tar:example.com/saved:3")


def containers_storage(bench: Bench, name: str) -> str:
    """In a store of its own, as buildah has it."""
    store = f"[overlay@{bench.directory}/store+{bench.directory}/store-run]"
    return bench.skopeo(bench.layout(name), f"containers-storage:{store}example.com/stored:4")


def buildah(bench: Bench, name: str) -> str:
    """Built there, on a layer of its own, and pushed by it."""
    store = ["--root", f"{bench.directory}/store", "--runroot", f"{bench.directory}/store-run"]
    context = bench.directory / "context"
    (context / "bin").mkdir(parents=True)
    shutil.copy(images.BUSYBOX, context / "bin" / "sh")
    (context / "bin" / "cat").symlink_to("sh")
    (context / "format").write_text(f"this is {name}\n")
    (context / "Containerfile").write_text('FROM scratch\nCOPY bin /bin\nCOPY format /etc/format\nUSER 0\nCMD ["sh"]\n')
    target = f"{bench.registry.host}/{name}:1"
    run("buildah", *store, "build", "-q", "--isolation", "chroot", "-t", target, str(context))
    run("buildah", *store, "push", "-q", "--tls-verify=false", target)
    return target


def buildah_manifest_list(bench: Bench, name: str) -> str:
    """For several platforms; only one of them is this machine's."""
    store = ["--root", f"{bench.directory}/store", "--runroot", f"{bench.directory}/store-run"]
    mine = bench.pushed(f"{name}-mine", bench.layout(name))
    target = f"{bench.registry.host}/{name}:1"
    run("buildah", *store, "manifest", "create", target)
    add = ["manifest", "add", "--tls-verify=false"]
    run(
        "buildah",
        *store,
        *add,
        "--os",
        "linux",
        "--arch",
        "s390x",
        target,
        f"docker://{bench.registry.host}/gzip_by_registry:1",
    )
    architecture = host_platform().architecture
    run("buildah", *store, *add, "--os", "linux", "--arch", architecture, target, f"docker://{mine}")
    run(
        "buildah",
        *store,
        "manifest",
        "push",
        "-q",
        "--all",
        "--tls-verify=false",
        "--format",
        "v2s2",
        target,
        f"docker://{target}",
    )
    return target


def umoci(bench: Bench, name: str) -> str:
    """A layout made there, with a layer of its own."""
    place = bench.directory / f"{name}-layout"
    bundle = bench.directory / f"{name}-bundle"
    run("umoci", "init", "--layout", str(place))
    run("umoci", "new", "--image", f"{place}:1")
    run("umoci", "unpack", "--image", f"{place}:1", str(bundle))
    root = bundle / "rootfs"
    (root / "bin").mkdir()
    (root / "etc").mkdir()
    shutil.copy(images.BUSYBOX, root / "bin" / "sh")
    (root / "bin" / "cat").symlink_to("sh")
    (root / "etc" / "format").write_text(f"this is {name}\n")
    run("umoci", "repack", "--image", f"{place}:1", str(bundle))
    return f"oci:{place}:1"


def nested_index(bench: Bench, name: str) -> str:
    """An index in an index, with variants: the best for this machine is taken."""
    builder = LayoutBuilder(str(bench.directory / f"{name}-made"))
    host = host_platform()

    def image(text: str) -> dict[str, Any]:
        tars = [ROOT, bench.marker(text)]
        layers = [builder.blob(gzip.compress(tar, 1), oci_image.LAYER_GZIP) for tar in tars]
        return builder.manifest(builder.config(tars, architecture=host.architecture), layers)

    best = {"os": "linux", "architecture": host.architecture, "variant": host.variants[0]}
    other = {"os": "linux", "architecture": "s390x"}
    inner = builder.index([{**image("wrong"), "platform": other}, {**image(name), "platform": best}])
    builder.finish({"1": builder.index([{**inner, "platform": best}])})
    return f"oci:{builder.directory}:1"


def gzip_of_two_members(bench: Bench, name: str) -> str:
    return bench.packed(name, lambda tar: gzip.compress(tar[:700]) + gzip.compress(tar[700:]), "+gzip")


def bzip2(bench: Bench, name: str) -> str:
    return bench.packed(name, bz2.compress, "")


def xz(bench: Bench, name: str) -> str:
    return bench.packed(name, lzma.compress, "")


def zstd_of_two_frames(bench: Bench, name: str) -> str:
    return bench.packed(name, lambda tar: zstd.compress(tar[:700]) + zstd.compress(tar[700:]), "+zstd")


def zstd_chunked(bench: Bench, name: str) -> str:
    blob, notes = chunked(bench.marker(name))
    return bench.packed(name, lambda tar: blob, "+zstd", annotations=notes)


FORMATS = [
    gzip_by_registry, schema_2, schema_1, schema_1_unsigned, zstd_by_registry, uncompressed, directory, oci_layout,
    oci_archive, docker_archive, containers_storage, buildah, buildah_manifest_list, umoci, nested_index,
    gzip_of_two_members, bzip2, xz, zstd_of_two_frames, zstd_chunked,
]  # fmt: skip


async def test_every_format_runs(node: Node, tmp_path: Path) -> None:
    bench_directory = Path("/dev/shm") / f"crio-formats-{node.tag}"
    bench_directory.mkdir()
    try:
        with registry(str(tmp_path / "registry"), auth="compatibility:\n  schema1:\n    enabled: true\n") as running:
            (node.root / "registries.conf").write_text(f'[[registry]]\nlocation = "{running.host}"\ninsecure = true\n')
            bench = Bench(bench_directory, running)
            config = node.host_network(node.pod_config())
            pod = await node.run_pod(config)
            wrong: dict[str, str] = {}
            for make in FORMATS:
                name = make.__name__
                source = await asyncio.to_thread(make, bench, name)
                said = await _run(node, pod, config, source, name)
                if said != [f"stdout F this is {name}"]:
                    wrong[name] = f"{source}: {said}"
            assert wrong == {}
    finally:
        subprocess.run(["umount", "-lq", f"{bench_directory}/store/overlay"], check=False)
        shutil.rmtree(bench_directory)


async def _run(node: Node, pod: str, pod_config: pb.PodSandboxConfig, source: str, name: str) -> list[str]:
    """Pull the image and let a container of it say what it is; the lines of its log."""
    request = pb.PullImageRequest(image=pb.ImageSpec(image=source), sandbox_config=pod_config)
    pulled = await node.call("PullImage", request, pb.PullImageResponse)
    config = node.container_config(["/bin/cat", "/etc/format"], name=name, image=pulled.image_ref)
    container = await node.create(pod, config, pod_config)
    await node.start_container(container)
    status = await node.wait_exited(container)
    assert status.image_id == pulled.image_ref
    assert os.path.exists(status.log_path)
    await node.remove_container(container)
    return node.log_lines("pod", name)
