"""The user namespace that a pod asks for: its maps, checked; pure.

The CRI allows one run of ids each for users and groups, of one length and with the container's root in it, and the same
for all containers of the pod (api.proto, UserNamespace).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.spec.oci_runtime import IdMapping

HIGHEST_ID = (1 << 32) - 2


class IdMaps(msgspec.Struct, frozen=True):
    """A pod's maps; both empty without a user namespace of its own."""

    uids: list[IdMapping]
    gids: list[IdMapping]

    @property
    def root(self) -> tuple[int, int]:
        """The host's user and group id of the pod's root; (0, 0) without a user namespace."""
        return _host_id(self.uids, 0), _host_id(self.gids, 0)

    @property
    def last(self) -> int:
        """The greatest number that is both a user and a group inside."""
        ends = {run.container_id + run.size - 1 for run in (*self.uids, *self.gids)}
        return max(end for end in ends if _has(self.uids, end) and _has(self.gids, end))


def id_maps(options: pb.NamespaceOption, *, lowest_uid: int = -1, lowest_gid: int = -1) -> IdMaps:
    """The maps of a pod's request. `lowest_uid` and `lowest_gid` are crio.conf's minimum_mappable_*; -1 is any.

    Raises InvalidArgument for what the CRI does not allow, and for a namespace of the host that a pod with a user
    namespace cannot use: its file system could not be mounted.
    """
    wanted = options.userns_options
    if not options.HasField("userns_options") or wanted.mode == pb.NODE:
        if wanted.uids or wanted.gids:
            raise _refusal("mode NODE takes no mappings")
        return IdMaps([], [])
    if wanted.mode != pb.POD:
        raise _refusal("its mode must be POD or NODE")
    check_kinds(options)
    maps = IdMaps(_run("uids", wanted.uids, lowest_uid), _run("gids", wanted.gids, lowest_gid))
    if maps.uids[0].size != maps.gids[0].size:
        raise _refusal("uids and gids must have the same length")
    return maps


def check_kinds(options: pb.NamespaceOption) -> None:
    """Raise InvalidArgument for a namespace of the host's whose file system a user namespace could not mount."""
    for kind in ("pid", "ipc"):
        if getattr(options, kind) == pb.NODE:
            raise _refusal(f"the pod is to share the host's {kind.upper()} namespace")


def check_same(pod: pb.NamespaceOption, container: pb.NamespaceOption) -> None:
    """Raise InvalidArgument if a container's request names another user namespace than that of its pod."""
    if container.HasField("userns_options") and id_maps(container) != id_maps(pod):
        raise InvalidArgument(
            "cannot create container: its user namespace is not that of its pod sandbox; all containers of a pod share "
            "one"
        )


def _run(name: str, mappings: Sequence[pb.IDMapping], lowest: int) -> list[IdMapping]:
    if len(mappings) != 1:
        raise _refusal(f"{name} must have one mapping, and has {len(mappings)}")
    only = mappings[0]
    if only.container_id != 0:
        raise _refusal(f"the mapping of {name} must begin at the container's id 0")
    if only.length == 0 or only.host_id + only.length - 1 > HIGHEST_ID:
        raise _refusal(f"the mapping of {name} leaves the range of 0 to {HIGHEST_ID}")
    if only.host_id < lowest:
        raise _refusal(f"the mapping of {name} begins below {lowest}, the lowest id that crio.conf lets pods have")
    return [IdMapping(0, only.host_id, only.length)]


def _refusal(reason: str) -> InvalidArgument:
    return InvalidArgument(f"cannot run the pod in a user namespace: {reason}")


def _host_id(mappings: list[IdMapping], number: int) -> int:
    return next((item.host_id for item in mappings if item.container_id == number), 0)


def _has(mappings: list[IdMapping], number: int) -> bool:
    return any(item.container_id <= number < item.container_id + item.size for item in mappings)
