"""The store: the one object that other rooms use. Synchronous and thread-safe.

It alone takes several locks, always in the order layers, images, containers, mounts, as every other tool does.
Nothing is deleted while a lock is held: directories are moved aside and go afterwards (`trash.py`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from crio.base.errors import AlreadyExists, DataLoss, FailedPrecondition, NotFound
from crio.base.failpoints import failpoint
from crio.base.files import sync_directory
from crio.base.ids import new_id
from crio.storage import accounting, records
from crio.storage.accounting import Accounts
from crio.storage.containers import ContainerStore
from crio.storage.driver.base import Driver, MountOptions
from crio.storage.driver.make import check_root, make_driver
from crio.storage.idmaps import IdMaps, shift_tree
from crio.storage.images import ImageStore
from crio.storage.indexfile import Syncer
from crio.storage.layers import LayerGone, LayerStore, unused_chain
from crio.storage.locks import LockFile
from crio.storage.mounts import MountTable
from crio.storage.options import StoreOptions
from crio.storage.records import ContainerRecord, IdMapEntry, ImageRecord, LayerRecord
from crio.storage.table import Edit
from crio.storage.trash import Trash
from crio.storage.usage import Usage

if TYPE_CHECKING:
    from crio.storage.writer import LayerFacts, LayerWriter, StagedLayer

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
        record = self.layer_store.find(records.layer_id(parent, diff_id))
        if record is not None:
            return record if self._is_whole(record) else None
        wanted = (parent or "", diff_id)
        same = (layer for layer in self.layers() if (layer.parent, layer.diff_digest) == wanted and not layer.uidmap)
        return next(filter(self._is_whole, same), None)

    def _is_whole(self, layer: LayerRecord) -> bool:
        return not layer.incomplete and self.driver.is_whole(layer.id)

    def stage_layer(self) -> LayerWriter:
        """A writer for one layer's tar; needs no lock until its `commit`."""
        from crio.storage.writer import LayerWriter  # lazy: the daemon itself unpacks nothing

        home = self.driver.writable_homes[-1]
        return LayerWriter(
            self.layer_store.trash.bin(home).new_path("addition"),
            self.layer_store.staging().new_path("tar-split.gz"),
            self._commit_layer,
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

    def _commit_layer(self, staged: StagedLayer, facts: LayerFacts) -> LayerRecord:
        id = records.layer_id(facts.parent, staged.diff_id)
        layers = self.layer_store
        with layers.table.writing() as edit:
            damaged = edit.now.by_id.get(id)
            existing = damaged or layers.find(id)
            if existing is not None and self._is_whole(existing):
                return existing
            if facts.parent and layers.find(facts.parent) is None:
                raise LayerGone(f"cannot add layer {id}: its parent {facts.parent} does not exist")
            record = LayerRecord(
                id=id,
                parent=facts.parent or "",
                created=records.now(),
                diff_digest=staged.diff_id,
                diff_size=staged.diff_size,
                compressed_diff_digest=facts.compressed_digest or staged.diff_id,
                compressed_size=facts.compressed_size or staged.diff_size,
                compression=facts.compression,
                uidset=staged.uids,
                gidset=staged.gids,
                flags={accounting.INODES_FLAG: staged.inodes},
            )

            def place() -> None:
                target = layers.staging_target(id)
                os.rename(staged.tar_split, target)
                if self.options.sync:
                    self.driver.sync(id)
                    sync_directory(os.path.dirname(target))

            try:
                layers.add_image_layer(edit, record, staged.content, place)
                if existing is not None:
                    log.warning("layer %s was damaged and is replaced", id)
                # There are some if it is one that was lost, even if its record was lost as well.
                layers.rebase_children(edit, id)
            except BaseException:
                self._undo_layer(edit, id, damaged)
                raise
        layers.trash.empty()
        return record

    def _undo_layer(self, edit: Edit[LayerRecord], id: str, damaged: LayerRecord | None) -> None:
        try:
            if damaged is not None:
                # Other layers stand on it: it stays what it was, damaged.
                edit.put(damaged)
                edit.save()
            elif id in edit.now.by_id:
                self.layer_store.remove(edit, [id])
        except OSError as error:
            log.warning("layer %s stays incomplete until the next start: %s", id, error)

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

    def set_image_names(self, image_id: str, names: Sequence[str]) -> ImageRecord:
        """Give an image exactly these names; other images lose them. Raises NotFound."""
        with self.image_store.table.writing() as edit:
            if image_id not in edit.now.by_id:
                self._refuse_read_only(image_id, "rename")
            record = self.image_store.set_names(edit, image_id, names)
            edit.save()
            return record

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
                self._refuse_read_only(image_id, "remove")
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

    def _refuse_read_only(self, image_id: str, what: str) -> None:
        if self.image_store.find(image_id) is None:
            raise NotFound(f"cannot {what} image {image_id}: no such id")
        raise FailedPrecondition(f"cannot {what} image {image_id}: it is in a read-only store")

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
            parent = ""
            if image_id is not None:
                image = self.image_store.find(image_id)
                if image is None:
                    raise NotFound(f"cannot create container {id}: image {image_id} does not exist")
                image_id, parent = image.id, image.layer
                if parent and not self.driver.is_whole(parent):
                    raise DataLoss(f"cannot create container {id}: layer {parent} of image {image.id} is damaged")
            if id in edit.now.by_id:
                raise AlreadyExists(f"cannot create container {id}: the id is in use")
            for name in names:
                if name in edit.now.by_name:
                    owner = edit.now.by_name[name]
                    raise AlreadyExists(f"cannot create container {id}: the name {name!r} belongs to container {owner}")
            layer = LayerRecord(
                id=new_id(),
                parent=parent,
                names=[f"{names[0]}-layer"] if names else [],
                mountlabel=mount_label,
                created=records.now(),
            )
            record = ContainerRecord(
                id=id,
                names=list(names),
                image=image_id or "",
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
                    _give(self.driver.writable_directory(layer.id), maps)
                failpoint("storage.container.layer")
                edit.put(record, file=self.container_store.file_for(volatile=volatile))
                edit.save(lasting=not volatile)
            except BaseException:
                self._undo_container(layer_edit, layer.id)
                raise
            failpoint("storage.container.made")
        return record

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
            self._shift(record, maps, options)
        path = self.mount_layer(record.layer, options)
        if maps is not None:
            self._let_in(path)
        return path

    def _shift(self, record: ContainerRecord, maps: IdMaps, options: MountOptions) -> None:
        """Give the container's own layer the owners of its user namespace, once. No lock is held for the long part."""
        path = self.mount_layer(record.layer, msgspec.structs.replace(options, read_only=False))
        try:
            shift_tree(path, maps)
        finally:
            self.unmount_layer(record.layer)
        with self.layer_store.table.writing() as edit:
            layer = edit.now.by_id[record.layer]
            edit.put(records.replaced(layer, uidmap=list(maps.uids), gidmap=list(maps.gids)))
            edit.save(lasting=not record.volatile)

    def _let_in(self, path: str) -> None:
        """Let the root of a user namespace, whom the host does not trust, pass to its root file system and no other."""
        top = os.path.join(self.options.graphroot, "")
        directory = os.path.dirname(path)
        while (directory + "/").startswith(top):
            mode = stat.S_IMODE(os.stat(directory).st_mode)
            if not mode & stat.S_IXOTH:
                os.chmod(directory, mode | stat.S_IXOTH)
            directory = os.path.dirname(directory)

    def limit_container(self, id: str, *, size: int | None = None, inodes: int | None = None) -> None:
        """Limit what a container may write into its root file system, in bytes and files; before its first mount.

        Replaces the limits of storage.conf; None is none. Raises InvalidArgument or FailedPrecondition where driver or
        file system cannot, naming what is missing.
        """
        with self.layer_store.table.writing():
            self.driver.limit(self.container(id).layer, size, inodes)

    def unmount_container(self, id: str, *, wholly: bool = False) -> bool:
        """Count one user less, or none at all with `wholly`; whether it is still mounted."""
        return self.unmount_layer(self.container(id).layer, wholly=wholly)

    def mount_layer(self, id: str, options: MountOptions) -> str:
        """As `mount_container` for a layer alone. Its removal is nobody's fault but the caller's."""
        with self.layer_store.table.writing():
            return self.layer_store.mount(id, options)

    def unmount_layer(self, id: str, *, wholly: bool = False) -> bool:
        with self.layer_store.table.writing():
            return self.layer_store.unmount(id, wholly=wholly)

    def mount_image(self, image_id: str) -> str:
        """Mount an image read-only, or count one more user. Keep a container of it meanwhile, so that it stays."""
        image = self.image_store.get(image_id)
        if not image.layer:
            raise FailedPrecondition(f"cannot mount image {image_id}: it has no layers")
        return self.mount_layer(image.layer, MountOptions(read_only=True))

    def unmount_image(self, image_id: str) -> bool:
        return self.unmount_layer(self.image_store.get(image_id).layer)

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

    def set_container_metadata(self, id: str, metadata: str) -> ContainerRecord:
        """Replace the engine's own text in a container's record. Raises NotFound."""
        with self.container_store.table.writing() as edit:
            record = edit.now.lookup("container", id)
            record = records.replaced(record, metadata=metadata)
            edit.put(record)
            edit.save(lasting=not record.volatile)
            return record

    def container_directory(self, id: str) -> str:
        """A directory (0700) of the container's own that lasts as long as it does."""
        return self.container_store.directory(records.check_id(id, "a container"))

    def container_run_directory(self, id: str) -> str:
        """The same for what ends with the machine's uptime."""
        return self.container_store.run_directory(records.check_id(id, "a container"))

    def container_usage(self, id: str) -> Usage:
        """What the container has written. Walks its files, about 2 microseconds each: call it in an executor."""
        return self._accounts.container(self.layer(self.container(id).layer))

    def mounted(self, id: str) -> int:
        """How many users a container's mount has."""
        present = self.layer_store.mounts.read().get(self.container(id).layer)
        return present.count if present else 0

    # Accounting

    def fs_usage(self) -> Usage:
        """What all images take: bytes of their uncompressed layers and blobs, and inodes. Read-only stores count not.

        From the records, so that it takes no longer for large images; inodes of a layer which another tool made are
        counted when they are asked for the first time.
        """
        images = self.image_store.table.snapshot().by_id.values()
        usage = self._accounts.all_images(images, self.layer_store.table.snapshot().by_id.values())
        if self._accounts.counted:
            self._keep_counts()
        return usage

    def _keep_counts(self) -> None:
        """Put what was counted into the layers' records."""
        counted, self._accounts.counted = self._accounts.counted, {}
        with self.layer_store.table.writing() as edit:
            for id in counted.keys() & edit.now.by_id.keys():
                layer = edit.now.by_id[id]
                edit.put(records.replaced(layer, flags={**layer.flags, accounting.INODES_FLAG: counted[id]}))
            edit.save(lasting=False)

    @property
    def image_place(self) -> str:
        """The directory on whose file system images lie."""
        return self.options.imagestore or self.options.graphroot

    def container_fs_usage(self) -> Usage:
        """What is in use on the file system of containers' layers, by whomever: at once, without a walk."""
        status = os.statvfs(self.options.graphroot)
        return Usage((status.f_blocks - status.f_bfree) * status.f_frsize, status.f_files - status.f_ffree)


def _give(directory: str, maps: IdMaps) -> None:
    status = os.stat(directory)
    os.chown(directory, *maps.owner(status.st_uid, status.st_gid))
    os.chmod(directory, stat.S_IMODE(status.st_mode))


def _texts(value: object) -> list[str] | None:
    return [str(item) for item in value] if isinstance(value, list) else None
