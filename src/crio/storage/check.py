"""What is wrong in a store, and how it is put right: `crio check`.

Opening the store has already undone what interrupted pulls left (`Store.cleaned`). `check` only reads. It reports
`Damage`, which names what would have to go; `repair` removes that, containers before images before layers, and only
containers if it may. A layer of an image that can be pulled again is no loss.
"""

from __future__ import annotations

import enum
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping

import msgspec

from crio.base.errors import CrioError, FailedPrecondition, NotFound
from crio.storage import gc, verify
from crio.storage.records import ContainerRecord, ImageRecord, LayerRecord
from crio.storage.store import Store
from crio.storage.verify import Rules

log = logging.getLogger(__name__)

DEFAULT_AGE = 24 * 3600.0
"""Seconds that a layer may be without an image: a pull that is under way looks like that."""


class Subject(enum.Enum):
    LAYER = "layer"
    IMAGE = "image"
    CONTAINER = "container"
    FILES = "files"
    """What no record names: left by a crash, or by a record that was lost."""


class Damage(msgspec.Struct, frozen=True):
    subject: Subject
    id: str
    problem: str
    """One sentence."""
    read_only: bool = False
    """It lies in a read-only store, where nothing can be repaired."""

    def __str__(self) -> str:
        return f"{self.subject.value} {self.id}: {self.problem}"


class Report(msgspec.Struct, frozen=True):
    damages: tuple[Damage, ...]
    checked: Mapping[Subject, int]
    """How many of each kind were looked at."""

    @property
    def healthy(self) -> bool:
        return not self.damages

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {subject.value}s" for subject, count in self.checked.items())
        return "\n".join([*map(str, self.damages), f"checked {counts}: {len(self.damages) or 'no'} damaged"])


def check(store: Store, *, quick: bool = False, age: float = DEFAULT_AGE) -> Report:
    """Look at every record and what belongs to it.

    `quick` leaves out what takes time: putting every layer's tar together again (about 300 MB/s) and the digests of
    blobs. Layers that nothing refers to are reported when older than `age` seconds. Holds no lock for long.
    """
    layers = {layer.id: layer for layer in store.layers()}
    images, containers = store.images(), store.containers()
    damages: list[Damage] = []
    bad: set[str] = set()
    for layer in layers.values():
        for problem in _layer_problems(store, layer, layers, quick=quick):
            damages.append(Damage(Subject.LAYER, layer.id, problem, store.layer_store.is_read_only(layer.id)))
            bad.add(layer.id)
    bad |= _descendants(layers, bad)
    bad_images: set[str] = set()
    for image in images:
        problems = list(_image_problems(store, image, layers, bad, quick=quick))
        read_only = store.image_store.is_read_only(image.id)
        damages += [Damage(Subject.IMAGE, image.id, problem, read_only) for problem in problems]
        if problems:
            bad_images.add(image.id)
    known_images = {image.id for image in images}
    for container in containers:
        problems = list(_container_problems(container, layers, bad, known_images))
        damages += [Damage(Subject.CONTAINER, container.id, problem) for problem in problems]
    damages += _unreferenced(store, layers, images, containers, age)
    damages += [Damage(Subject.FILES, path, "no record names them") for path in gc.find(store)]
    checked = {Subject.LAYER: len(layers), Subject.IMAGE: len(images), Subject.CONTAINER: len(containers)}
    return Report(tuple(damages), checked)


def repair(store: Store, report: Report, *, remove_containers: bool = False) -> list[Damage]:
    """Remove what `report` found damaged; what could not be, with the reason.

    Containers are only removed with `remove_containers`; without it an image or layer that one uses stays as well.
    """
    left: list[Damage] = []
    by_subject = {subject: [damage for damage in report.damages if damage.subject is subject] for subject in Subject}
    for damage in by_subject[Subject.CONTAINER]:
        if not remove_containers:
            left.append(damage)
            continue
        left += _attempt(damage, store.remove_container)
    for damage in by_subject[Subject.IMAGE]:
        left += _attempt(damage, store.remove_image)
    # Children first: a damaged layer takes those that stand on it with it.
    depth = {layer.id: _depth(store, layer) for layer in store.layers()}
    for damage in sorted(by_subject[Subject.LAYER], key=lambda damage: -depth.get(damage.id, 0)):
        left += _attempt(damage, store.remove_layer)
    if by_subject[Subject.FILES]:
        gc.collect(store)
        still = set(gc.find(store))
        left += [damage for damage in by_subject[Subject.FILES] if damage.id in still]
    return left


def _attempt(damage: Damage, remove: Callable[[str], object]) -> list[Damage]:
    if damage.read_only:
        return [damage]
    try:
        remove(damage.id)
    except NotFound:
        return []
    except (CrioError, OSError) as error:
        return [Damage(damage.subject, damage.id, f"{damage.problem}; {error}")]
    log.warning("removed damaged %s", damage)
    return []


def _layer_problems(
    store: Store, layer: LayerRecord, layers: Mapping[str, LayerRecord], *, quick: bool
) -> Iterator[str]:
    if layer.parent and layer.parent not in layers:
        yield f"its parent {layer.parent} is missing"
    try:
        directories = store.driver.own_directories(layer.id)
    except NotFound:
        yield "its directory is missing"
        return
    if not os.path.isdir(directories[0]):
        yield "its files are missing"
        return
    if not layer.diff_digest:
        return
    if not os.path.exists(store.layer_store.tar_split_path(layer.id)):
        yield "its tar-split data are missing, so it cannot be pushed or verified"
        return
    if quick:
        return
    rules = Rules(
        metadata=store.driver.layers_apart,
        owners=not (layer.uidmap or layer.gidmap or store.options.flag("ignore_chown_errors")),
        modes=store.options.force_mask is None,
        native_whiteouts=store.driver.native_whiteouts,
    )
    yield from verify.problems(store.layer_tar(layer.id), layer.diff_digest, layer.diff_size, directories, rules)


def _image_problems(
    store: Store, image: ImageRecord, layers: Mapping[str, LayerRecord], bad: set[str], *, quick: bool
) -> Iterator[str]:
    for top in image.layers:
        if top not in layers:
            yield f"its layer {top} is missing"
        elif top in bad:
            yield f"its layer {top}, or one below, is damaged"
    for key in image.big_data_names:
        try:
            data = store.image_big_data(image.id, key)
        except (CrioError, OSError) as error:
            yield str(error)
            continue
        size = image.big_data_sizes.get(key)
        if size is not None and size != len(data):
            yield f"its data {key!r} have {len(data)} bytes, and {size} were recorded"
        elif not quick and not _digest_fits(data, image.big_data_digests.get(key, "")):
            yield f"its data {key!r} do not have their digest"


def _digest_fits(data: bytes, digest: str) -> bool:
    """Signed schema 1 manifests have the digest of a part of theirs; they are left to whoever reads them."""
    if not digest.startswith("sha256:") or b'"schemaVersion": 1' in data[:4096] or b'"schemaVersion":1' in data[:4096]:
        return True
    return digest == f"sha256:{hashlib.sha256(data).hexdigest()}"


def _container_problems(
    container: ContainerRecord, layers: Mapping[str, LayerRecord], bad: set[str], images: set[str]
) -> Iterator[str]:
    if container.layer not in layers:
        yield f"its layer {container.layer} is missing"
    elif container.layer in bad:
        yield f"its layer {container.layer}, or one below, is damaged"
    if container.image and container.image not in images:
        yield f"its image {container.image} is missing"


def _unreferenced(
    store: Store,
    layers: Mapping[str, LayerRecord],
    images: list[ImageRecord],
    containers: list[ContainerRecord],
    age: float,
) -> list[Damage]:
    used: set[str] = set()
    for id in [top for image in images for top in image.layers] + [container.layer for container in containers]:
        while id and id in layers and id not in used:
            used.add(id)
            id = layers[id].parent
    oldest = (time.time() - age) * 1e9
    return [
        Damage(Subject.LAYER, layer.id, "nothing refers to it")
        for layer in layers.values()
        if layer.id not in used and layer.created_ns < oldest and not store.layer_store.is_read_only(layer.id)
    ]


def _descendants(layers: Mapping[str, LayerRecord], roots: set[str]) -> set[str]:
    """Every layer that stands on one of `roots`."""
    children: dict[str, list[str]] = {}
    for layer in layers.values():
        children.setdefault(layer.parent, []).append(layer.id)
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def _depth(store: Store, layer: LayerRecord) -> int:
    try:
        return len(store.layer_store.chain(layer.id))
    except (NotFound, FailedPrecondition):
        return 0
