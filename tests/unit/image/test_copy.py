from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

import images
from crio.base.errors import Cancelled, CrioError, NotFound
from crio.base.ids import Digest
from crio.image.cancellation import Cancellation
from crio.image.copy import Copied, Copier
from crio.image.documents import Served
from crio.image.errors import BadContent, BadImage
from crio.image.platforms import HostPlatform
from crio.image.progress import LayerState, Progress, Stage
from crio.image.source.base import ImageSource, StoredContent
from crio.image.source.files import DirectoryFiles
from crio.image.source.layout import DirectorySource, LayoutSource, entries_by_name
from crio.spec import oci_image
from crio.spec.oci_image import Descriptor, RunConfig
from crio.storage.layers import LayerGone
from crio.storage.options import StoreOptions
from crio.storage.store import Store
from images import LayoutBuilder

pytestmark = pytest.mark.root

HOST = HostPlatform("linux", "amd64", ("v3", "v2", "v1", ""))
BASE = images.layer({"etc": None, "etc/hello": "hello\n", "etc/gone": "x"})
TOP = images.layer({"etc/.wh.gone": "", "top": b"t" * 700_000})
NAME = "example.com/test/app:1"


@pytest.fixture
def root() -> Iterator[str]:
    directory = tempfile.mkdtemp(prefix="crio-copy-", dir="/dev/shm")
    yield directory
    subprocess.run(["umount", "-lq", f"{directory}/graph/overlay"], check=False)
    shutil.rmtree(directory)


@pytest.fixture
def store(root: str) -> Iterator[Store]:
    with Store.open(StoreOptions(f"{root}/graph", f"{root}/run", sync=False)) as opened:
        yield opened


def source_of(layout: str, name: str = NAME) -> LayoutSource:
    files = DirectoryFiles(layout)
    return LayoutSource(files, entries_by_name(files, HOST)[name])


def copy(
    store: Store,
    source: ImageSource,
    *names: str,
    wanted: Digest | None = None,
    scope: Cancellation | None = None,
    progress: Progress | None = None,
) -> Copied:
    return Copier(store, HOST).copy(
        source, names or (NAME,), wanted, scope or Cancellation(), progress or Progress(), "the image"
    )


def nothing_left(store: Store, root: str, layers: int = 0) -> None:
    assert store.images() == []
    assert len(store.layers()) == layers
    kept = {"l", *(layer.id for layer in store.layers())}
    assert {name for name in os.listdir(f"{root}/graph/overlay") if not name.startswith((".", "tempdirs"))} <= kept
    for directory, _, files in os.walk(f"{root}/graph/overlay/tempdirs"):
        assert not files or os.path.basename(directory) == "tempdirs", (directory, files)


def test_the_record_is_what_other_tools_expect(store: Store, tmp_path: Path) -> None:
    layout = images.layout(str(tmp_path / "layout"), NAME, [BASE, TOP])
    copied = copy(store, source_of(layout))
    record = store.image(NAME)
    manifest = json.loads(store.image_big_data(record.id, "manifest"))
    assert record.id == copied.image_id == manifest["config"]["digest"][7:]
    assert record.digest == copied.digest == "sha256:" + _sha(store.image_big_data(record.id, "manifest"))
    assert record.names == [NAME]
    assert record.big_data_names == [
        f"sha256:{record.id}",
        f"manifest-{record.digest}",
        "manifest",
        f"signature-{record.digest[7:]}",
    ]
    assert record.created == "2024-01-01T00:00:00Z"
    assert json.loads(record.metadata) == {"signatures-sizes": {record.digest: []}}
    base = store.find_layer(None, "sha256:" + _sha(BASE))
    assert base is not None
    top = store.find_layer(base.id, "sha256:" + _sha(TOP))
    assert top is not None
    assert record.layer == top.id
    assert top.compressed_diff_digest == manifest["layers"][1]["digest"]
    assert (top.compressed_size, top.compression) == (manifest["layers"][1]["size"], 2)


def test_other_tools_use_it(store: Store, root: str, tmp_path: Path) -> None:
    layout = images.layout(str(tmp_path / "layout"), NAME, [BASE, TOP])
    copied = copy(store, source_of(layout))
    where = ["--root", f"{root}/graph", "--runroot", f"{root}/run"]
    listed = _run("podman", *where, "images", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}", "--no-trunc")
    assert listed.strip() == f"sha256:{copied.image_id} {NAME}"
    out = tmp_path / "out"
    _run(
        "skopeo", "--insecure-policy", "copy", "-q",
        f"containers-storage:[overlay@{root}/graph+{root}/run]{NAME}", f"oci:{out}:x",
    )  # fmt: skip
    inspected = json.loads(_run("skopeo", "inspect", "--config", f"oci:{out}:x"))
    assert inspected["rootfs"]["diff_ids"] == ["sha256:" + _sha(BASE), "sha256:" + _sha(TOP)]


@pytest.mark.parametrize("moment", ["while layers come", "before the record"])
def test_layers_that_another_tool_removes_meanwhile_are_fetched(store: Store, tmp_path: Path, moment: str) -> None:
    """As podman may, when an image of the same layers goes at that moment."""
    layers = [BASE] if moment == "before the record" else [BASE, TOP]
    former = images.layout(str(tmp_path / "former"), NAME, [BASE])
    shared = images.layout(str(tmp_path / "shared"), NAME, layers, RunConfig(labels={"a": "b"}))
    copy(store, source_of(former), "example.com/former:1")
    removed: list[str] = []

    def remove() -> None:
        if not removed:
            with Store.open(store.options) as other:
                removed.extend(other.remove_image(other.image("example.com/former:1").id))

    class Watched(Progress):
        def enter(self, stage: Stage) -> None:
            super().enter(stage)
            if stage is Stage.COMMIT:
                remove()

    source = _Counting(source_of(shared), on_chunk=remove if moment == "while layers come" else lambda: None)
    copied = copy(store, source, progress=Watched())
    assert len(removed) == 1
    assert len(source.fetched) == (1 if moment == "before the record" else 3)
    assert store.image(NAME).id == copied.image_id
    container = store.create_container("c" * 64, names=["c"], image_id=copied.image_id)
    try:
        assert Path(store.mount_container(container.id), "etc/hello").read_text() == "hello\n"
    finally:
        store.remove_container(container.id)


def test_layers_that_go_again_and_again_are_given_up(store: Store, root: str, tmp_path: Path) -> None:
    layout = images.layout(str(tmp_path / "layout"), NAME, [BASE])

    class Hostile(Progress):
        def enter(self, stage: Stage) -> None:
            if stage is Stage.COMMIT:
                with Store.open(store.options) as other:
                    other.remove_layer(other.layers()[0].id)

    with pytest.raises(LayerGone, match="does not exist"):
        copy(store, source_of(layout), progress=Hostile())
    nothing_left(store, root)


def test_layers_that_are_there_are_not_fetched(store: Store, tmp_path: Path) -> None:
    first = images.layout(str(tmp_path / "a"), NAME, [BASE])
    second = images.layout(str(tmp_path / "b"), NAME, [BASE, TOP])
    copy(store, source_of(first))
    counting = _Counting(source_of(second))
    progress = Progress()
    copy(store, counting, "example.com/test/app:2", progress=progress)
    assert len(counting.fetched) == 1
    states = [layer.state for layer in progress.take_changes()[0]]
    assert states == [LayerState.EXISTS, LayerState.DONE]
    again = _Counting(source_of(second))
    copy(store, again, "example.com/test/app:3")
    assert again.fetched == []
    assert sorted(store.image("example.com/test/app:3").names) == ["example.com/test/app:2", "example.com/test/app:3"]
    assert store.image("example.com/test/app:1").id != store.image("example.com/test/app:2").id


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "members": lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:]),
    "zstd": zstd.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


@pytest.mark.parametrize("kind", list(PACKERS))
def test_compressions(store: Store, tmp_path: Path, kind: str) -> None:
    build = LayoutBuilder(str(tmp_path / "layout"))
    layers = [build.blob(PACKERS[kind](data), "application/x-not-believed") for data in (BASE, TOP)]
    layout = build.finish({NAME: build.manifest(build.config([BASE, TOP]), layers)})
    copy(store, source_of(layout))
    recorded = [layer.compression for layer in store.layers()]
    assert recorded == [{"plain": 0, "bzip2": 1, "xz": 3, "zstd": 4}.get(kind, 2)] * 2


def test_nested_indexes(store: Store, tmp_path: Path) -> None:
    build = LayoutBuilder(str(tmp_path / "layout"))
    layer = build.blob(gzip.compress(BASE), oci_image.LAYER_GZIP)
    mine = build.manifest(
        build.config([BASE]), [layer], platform={"os": "linux", "architecture": "amd64", "variant": "v2"}
    )
    plain = build.manifest(
        build.config([BASE], author="plain"), [layer], platform={"os": "linux", "architecture": "amd64"}
    )
    other = build.manifest(build.config([BASE], author="x"), [layer], platform={"os": "linux", "architecture": "s390x"})
    inner = build.index([other, plain, mine])
    outer = build.index([inner])
    layout = build.finish({NAME: outer})
    copied = copy(store, source_of(layout))
    assert copied.digest == outer["digest"]
    record = store.image(NAME)
    assert record.digests == [outer["digest"], inner["digest"], mine["digest"]]
    assert record.big_data_names[1:4] == [f"manifest-{d['digest']}" for d in (outer, inner, mine)]
    only_other = build.finish({NAME: build.index([other])})
    with pytest.raises(NotFound, match=r"no image for linux/amd64, only for linux/s390x"):
        copy(store, source_of(only_other))


def test_endless_nesting(store: Store, root: str, tmp_path: Path) -> None:
    build = LayoutBuilder(str(tmp_path / "layout"))
    entry = build.index([])
    for _ in range(6):
        entry = build.index([entry])
    with pytest.raises(BadImage, match="nested"):
        copy(store, source_of(build.finish({NAME: entry})))
    nothing_left(store, root)


Breaker = Callable[[LayoutBuilder], dict[str, Any]]


def _wrong_diff_id(build: LayoutBuilder) -> dict[str, Any]:
    return build.manifest(build.config([BASE, BASE]), _two(build))


def _wrong_digest(build: LayoutBuilder) -> dict[str, Any]:
    layers = _two(build)
    path = f"{build.directory}/blobs/{layers[1]['digest'].replace(':', '/')}"
    Path(path).write_bytes(gzip.compress(TOP + b"\0" * 512))
    return build.manifest(build.config([BASE, TOP]), layers)


def _wrong_size(build: LayoutBuilder) -> dict[str, Any]:
    layers = _two(build)
    layers[1]["size"] += 1
    return build.manifest(build.config([BASE, TOP]), layers)


def _wrong_count(build: LayoutBuilder) -> dict[str, Any]:
    return build.manifest(build.config([BASE]), _two(build))


def _wrong_config(build: LayoutBuilder) -> dict[str, Any]:
    config = build.config([BASE, TOP])
    path = f"{build.directory}/blobs/{config['digest'].replace(':', '/')}"
    Path(path).write_bytes(b'{"rootfs":{"diff_ids":[]}}')
    return build.manifest(config, _two(build))


def _no_time(build: LayoutBuilder) -> dict[str, Any]:
    """Tools that share the store would find no image at all if one had such a time."""
    return build.manifest(build.config([BASE], created="yesterday"), _two(build)[:1])


def _no_time_in_its_history(build: LayoutBuilder) -> dict[str, Any]:
    return build.manifest(build.config([BASE], history=[{"created": ""}]), _two(build)[:1])


def _no_tar(build: LayoutBuilder) -> dict[str, Any]:
    junk = os.urandom(100_000)
    layer = build.blob(gzip.compress(junk), oci_image.LAYER_GZIP)
    return build.manifest(build.config([junk]), [layer])


def _cut_gzip(build: LayoutBuilder) -> dict[str, Any]:
    layer = build.blob(gzip.compress(TOP)[:-20], oci_image.LAYER_GZIP)
    return build.manifest(build.config([TOP]), [layer])


def _climbing(build: LayoutBuilder) -> dict[str, Any]:
    evil = images.layer({"../../evil": "x"})
    config = {"mediaType": oci_image.CONFIG, "digest": "sha256:" + "0" * 64, "size": 5}
    return build.manifest(config, [build.blob(evil, oci_image.LAYER)])


def _two(build: LayoutBuilder) -> list[dict[str, Any]]:
    return [build.blob(gzip.compress(data), oci_image.LAYER_GZIP) for data in (BASE, TOP)]


@pytest.mark.parametrize(
    ("breaker", "error", "kept"),
    [
        (_wrong_diff_id, BadContent, 1),
        (_wrong_digest, BadContent, 1),
        (_wrong_size, BadContent, 1),
        (_wrong_count, BadImage, 0),
        (_wrong_config, BadContent, 0),
        (_no_time, BadImage, 0),
        (_no_time_in_its_history, BadImage, 0),
        (_no_tar, CrioError, 0),
        (_cut_gzip, BadImage, 0),
        (_climbing, CrioError, 0),
    ],
)
def test_broken_images_leave_nothing(
    store: Store, root: str, tmp_path: Path, breaker: Breaker, error: type[Exception], kept: int
) -> None:
    build = LayoutBuilder(str(tmp_path / "layout"))
    layout = build.finish({NAME: breaker(build)})
    with pytest.raises(error):
        copy(store, source_of(layout))
    # A whole layer below the broken one may have been put in; the next pull uses it.
    assert len(store.layers()) <= kept
    nothing_left(store, root, len(store.layers()))


def test_a_digest_that_was_asked_for_must_be_met(store: Store, tmp_path: Path) -> None:
    layout = images.layout(str(tmp_path / "layout"), NAME, [BASE])
    source = source_of(layout)
    with pytest.raises(BadContent, match="its digest is"):
        copy(store, _Lying(source), wanted=Digest("sha256:" + "1" * 64))
    right = Digest("sha256:" + _sha(source.manifest(None).data))
    assert copy(store, source, wanted=right).digest == right


def test_cancel(store: Store, root: str, tmp_path: Path) -> None:
    scope = Cancellation("the test")
    layout = images.layout(str(tmp_path / "layout"), NAME, [BASE, TOP])
    with pytest.raises(Cancelled, match="enough"):
        copy(store, _Counting(source_of(layout), on_chunk=lambda: scope.cancel("enough")), scope=scope)
    assert store.images() == []
    nothing_left(store, root, len(store.layers()))


def test_copies_at_the_same_time_fetch_a_layer_once(store: Store, tmp_path: Path) -> None:
    stack = [images.layer({f"file{number}": os.urandom(50_000)}) for number in range(4)]
    sources = [
        _Counting(source_of(images.layout(str(tmp_path / str(n)), NAME, [*stack, images.layer({"own": str(n)})])))
        for n in range(4)
    ]
    copier = Copier(store, HOST)
    errors: list[Exception] = []

    def work(number: int) -> None:
        try:
            copier.copy(
                sources[number], [f"example.com/n:{number}"], None, Cancellation(), Progress(), f"image {number}"
            )
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(store.images()) == 4
    assert len(store.layers()) == 8
    assert sum(len(source.fetched) for source in sources) == 8


def test_schema_1_gets_the_id_that_other_tools_give_it(store: Store, root: str, tmp_path: Path) -> None:
    directory = tmp_path / "dir"
    directory.mkdir()
    empty = gzip.compress(b"\0" * 1024)
    blobs = [gzip.compress(TOP), empty, gzip.compress(BASE)]
    for blob in blobs:
        (directory / _sha(blob)).write_bytes(blob)
    entries = [
        {"id": "c" * 64, "parent": "b" * 64, "created": "2015-03-03T03:03:03.5Z", "os": "linux",
         "architecture": "amd64", "docker_version": "1.9", "author": "me", "comment": "last",
         "config": {"Cmd": ["/bin/x"], "Env": ["A=<b>&c"]}, "container_config": {"Cmd": ["/bin/sh", "-c", "add top"]}},
        {"id": "b" * 64, "parent": "a" * 64, "created": "2015-02-02T02:02:02Z", "throwaway": True,
         "container_config": {"Cmd": ["/bin/sh", "-c", "#(nop) ENV A=b"]}},
        {"id": "a" * 64, "created": "2015-01-01T01:01:01Z", "container_config": {"Cmd": ["/bin/sh"]}},
    ]  # fmt: skip
    manifest = {
        "schemaVersion": 1, "name": "test/old", "tag": "1", "architecture": "amd64",
        "fsLayers": [{"blobSum": f"sha256:{_sha(blob)}"} for blob in blobs],
        "history": [{"v1Compatibility": json.dumps(entry)} for entry in entries],
    }  # fmt: skip
    (directory / "manifest.json").write_text(json.dumps(manifest))
    (directory / "version").write_text("Directory Transport Version: 1.1\n")
    copied = copy(store, DirectorySource(DirectoryFiles(str(directory))))
    assert len(store.layers()) == 2
    theirs = f"{root}/theirs"
    try:
        _run(
            "skopeo", "--insecure-policy", "copy", "-q", f"dir:{directory}",
            f"containers-storage:[overlay@{theirs}/graph+{theirs}/run]{NAME}",
        )  # fmt: skip
        listed = json.loads(Path(f"{theirs}/graph/overlay-images/images.json").read_text())
        assert listed[0]["id"] == copied.image_id
    finally:
        subprocess.run(["umount", "-lq", f"{theirs}/graph/overlay"], check=False)


class _Counting:
    """Passes everything on, and keeps the digests of the layers that were asked for."""

    def __init__(self, inner: ImageSource, on_chunk: Callable[[], None] = lambda: None) -> None:
        self._inner = inner
        self._on_chunk = on_chunk
        self.fetched: list[str] = []

    def manifest(self, digest: Digest | None) -> Served:
        return self._inner.manifest(digest)

    def config(self, descriptor: Descriptor) -> bytes:
        return self._inner.config(descriptor)

    def layer(self, descriptor: Descriptor) -> StoredContent:
        self.fetched.append(descriptor.digest)
        return StoredContent(self._counted(descriptor))

    def part(self, descriptor: Descriptor, start: int, stop: int) -> Generator[bytes, None, None] | None:
        return self._inner.part(descriptor, start, stop)

    def _counted(self, descriptor: Descriptor) -> Generator[bytes, None, None]:
        for chunk in self._inner.layer(descriptor).chunks():
            self._on_chunk()
            yield chunk


class _Lying(_Counting):
    """Answers with its own manifest whatever is asked for."""

    def manifest(self, digest: Digest | None) -> Served:
        return super().manifest(None)


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
