"""The overlay driver: one directory per layer, short symbolic links, the kernel's overlayfs.

Layout of `home/ID`: `diff` (files), `link` (its short name), `lower` (short names of all layers below, nearest first),
`work`, `merged` (mount point), `empty` (stands in for the missing lower layer of a base layer).
"""

from __future__ import annotations

import base64
import contextlib
import errno
import logging
import os
import stat
from collections.abc import Callable, Iterable, Sequence

from crio.base.errors import DataLoss, FailedPrecondition, NotFound
from crio.base.failpoints import failpoint
from crio.base.files import read_bounded, sync_directory, write_atomic
from crio.linux import mount as mnt
from crio.linux.filesystem import refuses_overlay
from crio.linux.overlay import MAX_LAYERS, OverlayMount, mount_overlay
from crio.linux.sync import sync_file
from crio.storage.deletion import delete_tree
from crio.storage.driver import projects
from crio.storage.driver.base import MountOptions
from crio.storage.driver.shifted import can_shift, shifted_homes

log = logging.getLogger(__name__)

_LINK_LENGTH = 26
_MAX_LOWER = (MAX_LAYERS + 1) * (_LINK_LENGTH + 3)
_NOT_LAYERS = frozenset(("l", "staging", "tempdirs"))
_PARAMETERS = "/sys/module/overlay/parameters"

_FLAGS = {
    "nodev": mnt.MS_NODEV,
    "nosuid": mnt.MS_NOSUID,
    "noexec": mnt.MS_NOEXEC,
    "noatime": mnt.MS_NOATIME,
    "nodiratime": mnt.MS_NODIRATIME,
    "relatime": mnt.MS_RELATIME,
    "ro": mnt.MS_RDONLY,
    "sync": mnt.MS_SYNCHRONOUS,
}
_DEFAULTS = frozenset(("", "rw", "dev", "suid", "exec", "defaults"))


class OverlayDriver:
    name = "overlay"
    layers_apart = True

    def __init__(
        self,
        home: str,
        *,
        image_home: str | None = None,
        other_homes: Sequence[str] = (),
        mount_options: Sequence[str] = (),
        skip_mount_home: bool = False,
        mount_program: str = "",
        force_mask: int | None = None,
        size: int | None = None,
        inodes: int | None = None,
    ) -> None:
        """`image_home` takes image layers if they are kept apart; `other_homes` are read-only stores'.

        `mount_program` mounts in the kernel's place, and may keep modes other than the image's (`force_mask`). `size`
        in bytes and `inodes` limit each container's layer.
        """
        self.native_whiteouts = not mount_program
        self.home = home
        self._image_home = image_home or home
        self.writable_homes: Sequence[str] = list(dict.fromkeys((home, self._image_home)))
        self._homes = list(dict.fromkeys((home, self._image_home, *other_homes)))
        self._mount_options = mount_options
        self._skip_mount_home = skip_mount_home
        self._program = mount_program
        self._force_mask = force_mask
        self._size, self._inodes = size, inodes
        self._volatile = True
        self._shifts_ids: bool | None = None

    def prepare(self) -> None:
        for home in self.writable_homes:
            os.makedirs(home, mode=0o700, exist_ok=True)
            os.makedirs(os.path.join(home, "l"), mode=0o755, exist_ok=True)
        unfit = "" if self._program else refuses_overlay(self.home)
        if unfit:
            raise FailedPrecondition(
                f"cannot use the storage driver overlay: {self.home} is on {unfit}, to which the kernel's overlay "
                f"cannot write; use a local disk, or set mount_program"
            )
        marker = os.path.join(self.home, ".has-mount-program")
        try:
            present = read_bounded(marker, 16).strip()
        except FileNotFoundError:
            present = b""
        if present == b"true" and not self._program:
            raise FailedPrecondition(
                f"cannot use the store at {self.home}: it was made for a mount program (fuse-overlayfs), whose "
                f"deletion marks the kernel does not know; set mount_program, use another root, or empty this one"
            )
        wanted = b"true" if self._program else b"false"
        if present != wanted:
            with open(marker, "wb") as file:
                file.write(wanted)
            os.chmod(marker, 0o600)
        if self._size or self._inodes:
            projects.check(self.home)

    def attach_home(self) -> None:
        # Containers' mounts must not spread to other mount namespaces, where they would keep layers busy.
        if not self._skip_mount_home and not mnt.is_mount_point(self.home):
            mnt.bind(self.home, self.home)
            mnt.make_private(self.home)

    def release_home(self) -> None:
        if not self._skip_mount_home and mnt.is_mount_point(self.home):
            mnt.umount(self.home, mnt.MNT_DETACH)

    def shifts_ids(self) -> bool:
        if self._shifts_ids is None:
            self._shifts_ids = not self._program and can_shift(self._homes)
        return self._shifts_ids

    def exists(self, id: str) -> bool:
        return self._find(id) is not None

    def is_whole(self, id: str) -> bool:
        place = self._find(id)
        if place is None:
            return False
        try:
            link = os.path.join(os.path.dirname(place), "l", _read_link_name(place))
            return os.path.samestat(os.stat(link), os.stat(os.path.join(place, "diff")))
        except (OSError, DataLoss):
            return False

    def rebase(self, id: str, parent: str) -> None:
        lower = os.path.join(self._require(id), "lower")
        write_atomic(lower, self._lower_for_child(self._require(parent)).encode(), mode=0o644)

    def create(
        self, id: str, parent: str | None, *, staged: str | None, image: bool, discard: Callable[[str], None]
    ) -> None:
        home = self._image_home if image else self.home
        place = os.path.join(home, id)
        lower, mode, owner = "", 0o555, (0, 0)
        if parent is not None:
            below = self._require(parent)
            lower = self._lower_for_child(below)
            status = os.stat(os.path.join(below, "diff"))
            mode, owner = stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)
        try:
            os.mkdir(place, 0o700)
        except FileExistsError:
            self.remove(id, discard)
            os.mkdir(place, 0o700)
        failpoint("storage.overlay.create.made")
        diff = os.path.join(place, "diff")
        if staged is None:
            os.mkdir(diff, mode)
        else:
            os.rename(staged, diff)
        os.chmod(diff, mode)
        if owner != (0, 0):
            os.chown(diff, *owner)
        if self._force_mask is not None:
            from crio.storage.driver import fuse  # lazy: it starts programs, and hardly anybody needs it

            os.chmod(diff, self._force_mask)
            os.setxattr(diff, fuse.OVERRIDE, self._root_override(parent))
        failpoint("storage.overlay.create.content")
        link = base64.b32encode(os.urandom(17)).decode()[:_LINK_LENGTH]
        os.symlink(f"../{id}/diff", os.path.join(home, "l", link))
        _write(os.path.join(place, "link"), link)
        os.mkdir(os.path.join(place, "work"), 0o700)
        os.mkdir(os.path.join(place, "merged"), 0o700)
        if lower:
            _write(os.path.join(place, "lower"), lower)
        else:
            os.mkdir(os.path.join(place, "empty"), 0o700)
        if not image and (self._size or self._inodes):
            projects.limit(place, self._size, self._inodes)
        failpoint("storage.overlay.create.done")

    def sync(self, id: str) -> None:
        place = self._require(id)
        for name in ("link", "lower"):
            try:
                sync_file(os.path.join(place, name))
            except FileNotFoundError:
                continue
        home = os.path.dirname(place)
        for directory in (place, home, os.path.join(home, "l")):
            sync_directory(directory)

    def remove(self, id: str, discard: Callable[[str], None]) -> None:
        for home in self.writable_homes:
            place = os.path.join(home, id)
            try:
                link = _read_link_name(place)
            except (FileNotFoundError, DataLoss):
                # Its maker died before it had written it. `repair_links` finds a short name that leads to nothing.
                link = ""
            if link:
                try:
                    os.unlink(os.path.join(home, "l", link))
                except FileNotFoundError:
                    pass
            failpoint("storage.overlay.remove.unlinked")
            if os.path.lexists(place):
                projects.release(place)
                discard(place)

    def limit(self, id: str, size: int | None, inodes: int | None) -> None:
        projects.limit(self._require(id), size, inodes)

    def mount(self, id: str, options: MountOptions) -> str:
        place = self._require(id)
        merged = os.path.join(place, "merged")
        plan = self._plan(place, merged, options)
        try:
            self._mount_mapped(place, plan, options)
        except FileNotFoundError:
            self._mend(place, merged, plan)
            self._mount_mapped(place, self._plan(place, merged, options), options)
        return merged

    def unmount(self, id: str) -> None:
        place = self._find(id)
        if place is None:
            return
        try:
            mnt.umount(os.path.join(place, "merged"), mnt.MNT_DETACH | mnt.UMOUNT_NOFOLLOW)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                raise

    def is_mounted(self, id: str) -> bool:
        place = self._find(id)
        return place is not None and mnt.is_mount_point(os.path.join(place, "merged"))

    def own_directories(self, id: str) -> list[str]:
        place = self._require(id)
        rotated = sorted(
            (name for name in os.listdir(place) if name.startswith("diff") and name[4:].isdigit()),
            key=lambda name: int(name[4:]),
        )
        return [os.path.join(place, name) for name in ("diff", *rotated)]

    def writable_directory(self, id: str) -> str:
        return os.path.join(self._require(id), "diff")

    def layer_ids(self) -> Iterable[str]:
        for home in self.writable_homes:
            with os.scandir(home) as entries:
                for entry in entries:
                    if entry.name not in _NOT_LAYERS and entry.is_dir(follow_symlinks=False):
                        yield entry.name

    def repair_links(self) -> int:
        """Short names that lead to nothing go; layers without one get theirs back."""
        changes = 0
        for home in self.writable_homes:
            folder = os.path.join(home, "l")
            targets: dict[str, str] = {}
            for name in os.listdir(folder):
                path = os.path.join(folder, name)
                target = os.readlink(path).removeprefix("../").removesuffix("/diff")
                if os.path.isdir(os.path.join(home, target)):
                    targets[name] = target
                else:
                    os.unlink(path)
                    changes += 1
            by_id = {id: name for name, id in targets.items()}
            with os.scandir(home) as entries:
                ids = [entry.name for entry in entries if entry.name not in _NOT_LAYERS and entry.is_dir()]
            for id in ids:
                changes += self._repair_link(home, id, targets, by_id)
        return changes

    def _repair_link(self, home: str, id: str, targets: dict[str, str], by_id: dict[str, str]) -> int:
        place = os.path.join(home, id)
        try:
            link = _read_link_name(place)
        except (FileNotFoundError, DataLoss):
            if id not in by_id:
                return 0
            _write(os.path.join(place, "link"), by_id[id])
            return 1
        if targets.get(link) == id:
            return 0
        log.warning("layer %s had lost its short name %s", id, link)
        os.symlink(f"../{id}/diff", os.path.join(home, "l", link))
        return 1

    def _plan(self, place: str, merged: str, options: MountOptions) -> OverlayMount:
        flags, data = self._split(self._mount_options if options.options is None else options.options)
        if options.label:
            data.append(f'context="{options.label}"')
        lowers = self._lowers(place)
        if options.read_only:
            lowers.insert(0, os.path.join(place, "diff"))
            if len(lowers) == 1:
                lowers.append(os.path.join(place, "empty"))
            return OverlayMount(merged, lowers, None, None, data, flags)
        if options.volatile and self._volatile:
            data.append("volatile")
        work = os.path.join(place, "work")
        return OverlayMount(
            merged,
            lowers or [os.path.join(place, "empty")],
            os.path.join(place, "diff"),
            work,
            data,
            flags,
        )

    def _mount_mapped(self, place: str, plan: OverlayMount, options: MountOptions) -> None:
        if options.id_maps is None:
            self._mount(plan)
            return
        own = os.path.join(place, "diff")
        with shifted_homes(self._homes, os.path.join(place, "mapped"), options.id_maps) as shifted:
            # What is the container's own belongs to the host's ids already.
            lowers = [
                lower if lower == own or lower.startswith(place + "/") else shifted(os.path.realpath(lower))
                for lower in plan.lowers
            ]
            self._mount(OverlayMount(plan.target, lowers, plan.upper, plan.work, plan.options, plan.flags))

    def _mount(self, plan: OverlayMount) -> None:
        if plan.work is not None:
            # A volatile mount leaves this behind, and the kernel refuses to mount over it.
            delete_tree(os.path.join(plan.work, "work/incompat/volatile"))
        if self._program:
            from crio.storage.driver import fuse  # lazy, as above

            fuse.mount(self._program, plan, forced_modes=self._force_mask is not None)
            return
        try:
            mount_overlay(plan, home=self.home)
        except OSError as error:
            if error.errno != errno.EINVAL or "volatile" not in plan.options:
                raise
            # Before Linux 5.10.
            without = [option for option in plan.options if option != "volatile"]
            mount_overlay(
                OverlayMount(plan.target, plan.lowers, plan.upper, plan.work, without, plan.flags), home=self.home
            )
            self._volatile = False

    def _root_override(self, parent: str | None) -> bytes:
        """What a layer's root directory is in the container: as in its parent."""
        from crio.storage.driver import fuse  # lazy, as above

        if parent is not None:
            with contextlib.suppress(OSError):
                return os.getxattr(os.path.join(self._require(parent), "diff"), fuse.OVERRIDE)
        return fuse.override(0, 0, 0o555)

    def _mend(self, place: str, merged: str, plan: OverlayMount) -> None:
        """Something of the layer is not there: make what can be made again, and say what cannot."""
        os.makedirs(merged, mode=0o700, exist_ok=True)
        os.makedirs(os.path.join(place, "work"), mode=0o700, exist_ok=True)
        if not os.path.exists(os.path.join(place, "lower")):
            os.makedirs(os.path.join(place, "empty"), mode=0o700, exist_ok=True)
        if not all(os.path.isdir(lower) for lower in plan.lowers):
            self.repair_links()
        for directory in self._lowers(place):
            if not os.path.isdir(directory):
                raise DataLoss(f"cannot mount {place}: the layer behind {directory} is gone; pull the image again")

    def _split(self, options: Sequence[str]) -> tuple[int, list[str]]:
        flags, data = 0, []
        for option in (part for text in options for part in text.split(",")):
            if option in _FLAGS:
                flags |= _FLAGS[option]
            elif option in _DEFAULTS or (
                option.startswith("metacopy=") and not os.path.exists(f"{_PARAMETERS}/metacopy")
            ):
                continue
            else:
                data.append(option)
        return flags, data

    def _lowers(self, place: str) -> list[str]:
        """Absolute paths of the layers below, nearest first."""
        try:
            text = read_bounded(os.path.join(place, "lower"), _MAX_LOWER).decode()
        except FileNotFoundError:
            return []
        homes = self._homes
        names = text.split(":") if text else []
        if len(homes) == 1:
            return [f"{homes[0]}/{name}" for name in names]
        return [
            next((f"{home}/{name}" for home in homes if os.path.lexists(f"{home}/{name}")), f"{homes[0]}/{name}")
            for name in names
        ]

    def _lower_for_child(self, place: str) -> str:
        own = f"l/{_read_link_name(place)}"
        try:
            rest = read_bounded(os.path.join(place, "lower"), _MAX_LOWER).decode()
        except FileNotFoundError:
            return own
        lower = f"{own}:{rest}" if rest else own
        if lower.count(":") >= MAX_LAYERS:
            raise FailedPrecondition(f"cannot put a layer on {place}: the kernel takes at most {MAX_LAYERS} layers")
        return lower

    def _find(self, id: str) -> str | None:
        for home in self._homes:
            place = os.path.join(home, id)
            if os.path.isdir(place):
                return place
        return None

    def _require(self, id: str) -> str:
        place = self._find(id)
        if place is None:
            raise NotFound(f"cannot use layer {id}: its directory is gone; check and repair the store")
        return place


def _read_link_name(place: str) -> str:
    text = read_bounded(os.path.join(place, "link"), 256).decode("ascii", "replace").strip()
    if not text or "/" in text or text.startswith("."):
        raise DataLoss(f"cannot use {place}: its link file is damaged")
    return text


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
