"""The store: the one object that other rooms use. Synchronous and thread-safe.

It alone takes several locks, always in the order layers, images, containers, mounts, as every other tool does.
Nothing is deleted while a lock is held: directories are moved aside and go afterwards (`trash.py`).
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from crio.base.errors import AlreadyExists, DataLoss, FailedPrecondition, InvalidArgument, NotFound
from crio.base.failpoints import failpoint
from crio.base.ids import new_id
from crio.storage import accounting, records
from crio.storage.accounting import Accounts
from crio.storage.containers import ContainerStore
from crio.storage.driver.base import Driver, MountOptions
from crio.storage.driver.make import check_root, make_driver
from crio.storage.idmaps import IdMaps, give, let_in
from crio.storage.images import ImageStore
from crio.storage.indexfile import Syncer
from crio.storage.layers import LayerGone, LayerStore, unused_chain
from crio.storage.locks import LockFile
from crio.storage.mounts import MountTable
from crio.storage.options import StoreOptions
from crio.storage.records import ContainerRecord, IdMapEntry, ImageRecord, LayerRecord
from crio.storage.table import Edit, Snapshot
from crio.storage.trash import Trash
from crio.storage.usage import Usage

if TYPE_CHECKING:
    from crio.storage.writer import LayerWriter

log = logging.getLogger(__name__)


class Store:
    """One writable store and the read-only ones behind it. Made by `open`, ended by `close`."""

    def __init__(
        self,
        options: StoreOptions,
        driver: Driver,
        layers: LayerStore,
        images: ImageStore,
        containers: ContainerStore,
        graph_lock: LockFile,
        syncer: Syncer | None,
    ) -> None:
        self.options = options
        self.driver = driver
        self.layer_store = layers
        self.image_store = images
        self.container_store = containers
        self._graph_lock = graph_lock
        self._syncer = syncer
        self._accounts = Accounts(driver)
        self.cleaned: Sequence[str] = ()
        """What opening it has removed: the rest of pulls whose process died."""

    @classmethod
    def open(cls, options: StoreOptions) -> Store:
        """Open the store and make it if there is none; what dead writers left half-made is removed.

        Raises InvalidArgument for options that cannot be used, FailedPrecondition if this root or file system cannot
        be used with them, DataLoss for damaged index files, OSError.
        """
        options.check()
        check_root(options)
        graphroot, runroot, name = options.graphroot, options.runroot, options.driver
        image_root = options.imagestore if options.imagestore != graphroot else None
        for root in (graphroot, runroot, image_root):
            if root:
                os.makedirs(root, mode=0o700, exist_ok=True)
        timeout = options.lock_timeout
        others = list(options.additional_image_stores)
        driver = make_driver(options, image_root)
        with contextlib.ExitStack() as undo:
            graph_lock = LockFile(os.path.join(graphroot, "storage.lock"), timeout=timeout)
            undo.callback(graph_lock.close)
            LockFile(os.path.join(graphroot, "userns.lock")).close()
            with graph_lock.write():
                driver.prepare()
            mounts = MountTable(os.path.join(runroot, f"{name}-layers"), timeout=timeout)
            undo.callback(mounts.close)
            syncer = Syncer() if options.sync else None
            if syncer is not None:
                undo.callback(syncer.close)
            layers = LayerStore(
                os.path.join(graphroot, f"{name}-layers"),
                driver,
                mounts,
                Trash(),
                image_directory=os.path.join(image_root, f"{name}-layers") if image_root else None,
                others=[os.path.join(other, f"{name}-layers") for other in others],
                transient_directory=os.path.join(runroot, f"{name}-layers") if options.transient else None,
                syncer=syncer,
                timeout=timeout,
            )
            undo.callback(layers.close)
            images = ImageStore(
                [os.path.join(root, f"{name}-images") for root in (graphroot, image_root) if root],
                others=[os.path.join(other, f"{name}-images") for other in others],
                syncer=syncer,
                timeout=timeout,
            )
            undo.callback(images.close)
            containers = ContainerStore(
                os.path.join(graphroot, f"{name}-containers"),
                os.path.join(runroot, f"{name}-containers"),
                transient=options.transient,
                syncer=syncer,
                timeout=timeout,
            )
            undo.callback(containers.close)
            for table in (layers.table, images.table, containers.table):
                table.heal()
            cleaned = layers.clean()
            layers.attach_home()
            undo.pop_all()
        store = cls(options, driver, layers, images, containers, graph_lock, syncer)
        store.cleaned = cleaned
        return store

    def close(self) -> None:
        """Wait for deletions and let go of everything. Containers stay mounted."""
        self.layer_store.trash.close()
        if self._syncer is not None:
            self._syncer.close()
        with self._graph_lock.write():
            self.layer_store.release_home()
        self.layer_store.close()
        self.image_store.close()
        self.container_store.close()
        self.layer_store.mounts.close()
        self._graph_lock.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Layers

    def layers(self) -> list[LayerRecord]:
        return self.layer_store.all()

    def layer(self, id: str) -> LayerRecord:
        """By id or name. Raises NotFound."""
        return self.layer_store.get(id)

    def find_layer(self, parent: str | None, diff_id: str) -> LayerRecord | None:
        """The layer with this content on top of `parent`, if it is there and not visibly damaged."""
        return self.layer_store.find_content(parent, diff_id)

    def stage_layer(self) -> LayerWriter:
        """A writer for one layer's tar; needs no lock until its `commit`."""
        from crio.storage.writer import LayerWriter  # lazy: the daemon itself unpacks nothing

        home = self.driver.writable_homes[-1]
        return LayerWriter(
            self.layer_store.trash.bin(home).new_path("addition"),
            self.layer_store.staging().new_path("tar-split.gz"),
            self.layer_store.commit,
            sync=self.options.sync,
            native_whiteouts=self.driver.native_whiteouts,
            ignore_chown_errors=self.options.flag("ignore_chown_errors"),
            force_mask=self.options.force_mask,
        )

    def layer_tar(self, id: str) -> Iterator[bytes]:
        """The layer's tar as it was received, byte for byte. Raises DataLoss where files have changed since."""
        from crio.storage import export  # lazy: the daemon itself exports nothing

        record = self.layer(id)
        return export.layer_tar(self.layer_store.tar_split_path(record.id), self.driver.own_directories(record.id))

    def remove_layer(self, id: str) -> None:
        """Remove one layer. Raises NotFound, FailedPrecondition while an image, container or other layer needs it."""
        with (
            self.layer_store.table.writing() as edit,
            self.image_store.table.reading() as images,
            self.container_store.table.reading() as containers,
        ):
            if id not in edit.now.by_id:
                raise NotFound(f"cannot remove layer {id}: no such id in the writable store")
            self.layer_store.check_unused(edit, id)
            for image in images.by_id.values():
                if id in image.layers:
                    raise FailedPrecondition(f"cannot remove layer {id}: image {image.id} uses it")
            for container in containers.by_id.values():
                if id == container.layer:
                    raise FailedPrecondition(f"cannot remove layer {id}: container {container.id} uses it")
            self.layer_store.remove(edit, [id])
        self.layer_store.trash.empty()

    # Images

    def images(self) -> list[ImageRecord]:
        """All images. While nobody has changed them this costs two system calls."""
        return self.image_store.all()

    def image(self, id_or_name: str) -> ImageRecord:
        """By id, full name, or unambiguous prefix of an id. Raises NotFound."""
        return self.image_store.get(id_or_name)

    def image_big_data(self, image_id: str, key: str) -> bytes:
        """One of the image's blobs (records.py, `big_data_names`); at most 64 MiB. Raises NotFound."""
        return self.image_store.read(image_id, key)

    def put_image(
        self,
        id: str,
        *,
        layer: str | None,
        names: Sequence[str],
        digest: str = "",
        created: str = "",
        metadata: str = "{}",
        big_data: Mapping[str, bytes],
    ) -> ImageRecord:
        """Add an image, or names and blobs to the image that has this id. Other images lose these names.

        `layer` is the top layer; `created` is the image config's time (RFC 3339). Raises LayerGone if there is no such
        layer, InvalidArgument.
        """
        records.check_id(id, "an image")
        if created and not records.is_time(created):
            raise InvalidArgument(f"cannot add image {id}: {created[:60]!r} is not a time")
        if layer and self.layer_store.find(layer) is None:
            raise LayerGone(f"cannot add image {id}: its layer {layer} does not exist")
        with self.layer_store.table.reading(), self.image_store.table.writing() as edit:
            if layer and self.layer_store.find(layer) is None:
                raise LayerGone(f"cannot add image {id}: its layer {layer} was removed meanwhile")
            return self.image_store.put(
                edit,
                id,
                layer=layer or "",
                names=names,
                digest=digest,
                created=created or records.now(),
                metadata=metadata,
                big_data=big_data,
                durable=self.options.sync,
            )

    def remove_image(self, image_id: str) -> list[str]:
        """Remove an image with all its names, and the layers that nothing else uses; the ids of these layers.

        Raises FailedPrecondition while a container of any engine uses it, NotFound.
        """
        layers = self.layer_store
        with (
            layers.table.writing() as layer_edit,
            self.image_store.table.writing() as image_edit,
            self.container_store.table.writing() as container_edit,
        ):
            image = image_edit.now.by_id.get(image_id)
            if image is None:
                if self.image_store.find(image_id) is not None:
                    raise FailedPrecondition(f"cannot remove image {image_id}: it is in a read-only store")
                raise NotFound(f"cannot remove image {image_id}: no such id")
            for container in container_edit.now.by_id.values():
                if container.image == image_id:
                    name = container.names[0] if container.names else container.id
                    raise FailedPrecondition(f"cannot remove image {image_id}: container {name} uses it")
            self.image_store.remove(image_edit, image_id)
            used = {layer for other in image_edit.now.by_id.values() for layer in other.layers}
            used |= {container.layer for container in container_edit.now.by_id.values()}
            doomed = unused_chain(layer_edit.now.by_id, image.layers, used)
            if doomed:
                layers.remove(layer_edit, doomed)
        layers.trash.empty()
        return doomed

    def image_size(self, image_id: str) -> int:
        """Bytes of the image's uncompressed layers and of its blobs, from the records."""
        image = self.image_store.get(image_id)
        return accounting.image_size(image, self.layer_store.chain(image.layer) if image.layer else [])

    # Containers

    def containers(self) -> list[ContainerRecord]:
        """All containers of all engines."""
        return list(self.container_store.table.snapshot().by_id.values())

    def container(self, id_or_name: str) -> ContainerRecord:
        """By id, name, or unambiguous prefix of an id. Raises NotFound."""
        return self.container_store.table.snapshot().lookup("container", id_or_name)

    def create_container(
        self,
        id: str,
        *,
        names: Sequence[str],
        image_id: str | None,
        metadata: str = "",
        mount_label: str = "",
        process_label: str = "",
        mount_options: Sequence[str] | None = None,
        volatile: bool = True,
        uid_mappings: Sequence[IdMapEntry] = (),
        gid_mappings: Sequence[IdMapEntry] = (),
    ) -> ContainerRecord:
        """Add a container with a new writable layer on top of the image's.

        A `volatile` one need not survive a crash of the machine: nothing of it is synced. With mappings, which need an
        entry for id 0, its root file system has the owners of that user namespace. Raises AlreadyExists if the id or a
        name is taken, NotFound if there is no such image, DataLoss if its layer is gone, InvalidArgument for mappings
        without root.
        """
        records.check_id(id, "a container")
        maps = IdMaps(tuple(uid_mappings), tuple(gid_mappings)).check() if uid_mappings or gid_mappings else None
        shifts = maps is not None and self.driver.shifts_ids()
        flags: dict[str, object] = {"MountLabel": mount_label, "ProcessLabel": process_label}
        if mount_options is not None:
            flags["MountOpts"] = list(mount_options)
        if volatile:
            flags["Volatile"] = True
        layers = self.layer_store
        with (
            layers.table.writing() as layer_edit,
            self.image_store.table.reading(),
            self.container_store.table.writing() as edit,
        ):
            image = self._whole_image(image_id, id) if image_id is not None else None
            _refuse_taken(edit.now, id, names)
            layer = LayerRecord(
                id=new_id(),
                parent=image.layer if image is not None else "",
                names=[f"{names[0]}-layer"] if names else [],
                mountlabel=mount_label,
                created=records.now(),
            )
            record = ContainerRecord(
                id=id,
                names=list(names),
                image=image.id if image is not None else "",
                layer=layer.id,
                metadata=metadata,
                created=layer.created,
                flags=flags,
                uidmap=list(uid_mappings),
                gidmap=list(gid_mappings),
            )
            try:
                layers.add_container_layer(layer_edit, layer, volatile=volatile or self.options.transient)
                if maps is not None and shifts:
                    give(self.driver.writable_directory(layer.id), maps)
                failpoint("storage.container.layer")
                edit.put(record, file=self.container_store.file_for(volatile=volatile))
                edit.save(lasting=not volatile)
            except BaseException:
                self._undo_container(layer_edit, layer.id)
                raise
            failpoint("storage.container.made")
        return record

    def _whole_image(self, image_id: str, container_id: str) -> ImageRecord:
        image = self.image_store.find(image_id)
        if image is None:
            raise NotFound(f"cannot create container {container_id}: image {image_id} does not exist")
        if image.layer and not self.driver.is_whole(image.layer):
            raise DataLoss(
                f"cannot create container {container_id}: layer {image.layer} of image {image.id} is damaged"
            )
        return image

    def _undo_container(self, edit: Edit[LayerRecord], layer: str) -> None:
        try:
            if layer in edit.now.by_id:
                self.layer_store.remove(edit, [layer])
            else:
                self.driver.remove(layer, self.layer_store.discard)
        except OSError as error:
            log.warning("layer %s of a container that failed stays until the next start: %s", layer, error)

    def mount_container(self, id: str, *, read_only: bool = False) -> str:
        """Mount the container's root file system, or count one more user; the path, the same each time.

        `read_only` counts for the first user. Owners are those of the mappings that it was created with. Where the
        kernel cannot map them, the first mount changes them file by file: call it in an executor then.
        """
        record = self.container(id)
        flags = record.flags
        maps = IdMaps(tuple(record.uidmap), tuple(record.gidmap)) if record.uidmap or record.gidmap else None
        # A layer with maps of its own was shifted before, by whoever.
        shifted = maps is None or bool(self.layer(record.layer).uidmap)
        shifts = not shifted and self.driver.shifts_ids()
        options = MountOptions(
            options=_texts(flags.get("MountOpts")),
            label=str(flags.get("MountLabel") or ""),
            volatile=record.volatile and not self.options.flag("disable-volatile"),
            read_only=read_only,
            id_maps=maps if shifts else None,
        )
        if maps is not None and not shifted and not shifts:
            self.layer_store.shift_owners(record.layer, maps, options, lasting=not record.volatile)
        with self.layer_store.table.writing():
            path = self.layer_store.mount(record.layer, options)
        if maps is not None:
            let_in(path, self.options.graphroot)
        return path

    def limit_container(self, id: str, *, size: int | None = None, inodes: int | None = None) -> None:
        """Limit what a container may write into its root file system, in bytes and files; before its first mount.

        Replaces the limits of storage.conf; None is none. Raises InvalidArgument or FailedPrecondition where driver or
        file system cannot, naming what is missing.
        """
        with self.layer_store.table.writing():
            self.driver.limit(self.container(id).layer, size, inodes)

    def remove_container(self, id: str) -> None:
        """Unmount the container and remove it with its layer and directories. Raises NotFound."""
        layers = self.layer_store
        with layers.table.writing() as layer_edit, self.container_store.table.writing() as edit:
            record = edit.now.find(id)
            if record is None:
                raise NotFound(f"cannot remove container {id}: no such id or name")
            if record.layer in layer_edit.now.by_id:
                layers.check_unused(layer_edit, record.layer)
                layers.remove(layer_edit, [record.layer], lasting=not record.volatile)
            failpoint("storage.container.remove.layer")
            self.container_store.remove_directories(record.id)
            edit.drop(record.id)
            edit.save(lasting=not record.volatile)
            failpoint("storage.container.remove.done")
        layers.trash.empty()

    def container_usage(self, id: str) -> Usage:
        """What the container has written. Walks its files, about 2 microseconds each: call it in an executor."""
        return self._accounts.container(self.layer(self.container(id).layer))

    # Accounting

    def fs_usage(self) -> Usage:
        """What all images take: bytes of their uncompressed layers and blobs, and inodes. Read-only stores count not.

        From the records, so that it takes no longer for large images; inodes of a layer which another tool made are
        counted when they are asked for the first time.
        """
        images = self.image_store.table.snapshot().by_id.values()
        usage = self._accounts.all_images(images, self.layer_store.table.snapshot().by_id.values())
        self._accounts.keep_counts(self.layer_store.table)
        return usage

    @property
    def image_place(self) -> str:
        """The directory on whose file system images lie."""
        return self.options.imagestore or self.options.graphroot

    def container_fs_usage(self) -> Usage:
        """What is in use on the file system of containers' layers, by whomever: at once, without a walk."""
        status = os.statvfs(self.options.graphroot)
        return Usage((status.f_blocks - status.f_bfree) * status.f_frsize, status.f_files - status.f_ffree)


def _refuse_taken(containers: Snapshot[ContainerRecord], id: str, names: Sequence[str]) -> None:
    if id in containers.by_id:
        raise AlreadyExists(f"cannot create container {id}: the id is in use")
    for name in names:
        if name in containers.by_name:
            owner = containers.by_name[name]
            raise AlreadyExists(f"cannot create container {id}: the name {name!r} belongs to container {owner}")


def _texts(value: object) -> list[str] | None:
    return [str(item) for item in value] if isinstance(value, list) else None
