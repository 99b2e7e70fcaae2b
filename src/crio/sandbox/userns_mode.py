"""The annotation userns-mode, by which a pod gets a user namespace that the CRI's request does not ask for.

    auto[:size=N;keep-id=true;map-to-root=true;uidmapping=RUNS;gidmapping=RUNS]   ids that no other pod has
    private[:uidmapping=RUNS;gidmapping=RUNS]                                     these ids; without any, as auto
    host                                                                          none

RUNS are CONTAINER:HOST:SIZE, separated by commas. Ids for "auto" are those that /etc/subuid and /etc/subgid set aside
for the user "containers", as with podman. With keep-id the pod's user keeps its number, with map-to-root it is root.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from crio.base.files import read_bounded
from crio.base.regex import regex
from crio.sandbox.user_namespace import HIGHEST_ID, IdMaps, check_kinds
from crio.spec.annotations import USERNS_MODE, find
from crio.spec.oci_runtime import IdMapping

OWNER = "containers"
DEFAULT_SIZE = 65536
_FILES = ("/etc/subuid", "/etc/subgid")
_LIMIT = 1 << 20
_MAX_RUNS = 64
_NUMBER = regex(r"\d{1,10}")
_FLAGS, _RUNS = ("keep-id", "map-to-root"), ("uidmapping", "gidmapping")
_KEYS = {"auto": ("size", *_FLAGS, *_RUNS), "private": _RUNS}


def annotated_maps(
    annotations: Mapping[str, str],
    context: pb.LinuxSandboxSecurityContext,
    taken: Iterable[IdMaps],
    *,
    lowest_uid: int = -1,
    lowest_gid: int = -1,
    files: tuple[str, str] = _FILES,
) -> IdMaps | None:
    """The maps of a pod with the (allowed) annotation, None without. `taken` are those of all others on the node.

    Raises InvalidArgument for a text that is none of the forms, or ids below crio.conf's minimum_mappable_*;
    FailedPrecondition if the node has set no ids aside; ResourceExhausted if they are all in use.
    """
    text = find(annotations, USERNS_MODE) or ""
    kind, _, rest = text.partition(":")
    if kind in ("", "host"):
        return None
    check_kinds(context.namespace_options)
    given = _arguments(text, kind, rest)
    uids, gids = (_runs(text, given.get(key, "")) for key in _RUNS)
    if kind == "private" and (uids or gids):
        maps = IdMaps(uids or gids, gids or uids)
    else:
        maps = _automatic(text, given, context, uids, gids, list(taken), files)
    _check(text, maps, lowest_uid, lowest_gid)
    return maps


def _arguments(text: str, kind: str, rest: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for item in rest.split(";") if rest else ():
        key, separator, value = item.partition("=")
        if not separator or key not in _KEYS.get(kind, ()):
            raise _refusal(text, f"{item[:80]!r} is not known")
        given[key] = value
    if kind not in _KEYS:
        raise _refusal(text, "the modes are auto, private and host")
    return given


def _runs(text: str, value: str) -> list[IdMapping]:
    found: list[IdMapping] = []
    for item in value.split(",") if value else ():
        parts = item.split(":")
        if len(parts) != 3 or not all(_NUMBER.fullmatch(part) for part in parts) or len(found) == _MAX_RUNS:
            raise _refusal(text, f"{item[:80]!r} is not CONTAINER:HOST:SIZE")
        found.append(IdMapping(*map(int, parts)))
    return found


def _automatic(
    text: str,
    given: Mapping[str, str],
    context: pb.LinuxSandboxSecurityContext,
    uids: list[IdMapping],
    gids: list[IdMapping],
    taken: Sequence[IdMaps],
    files: tuple[str, str],
) -> IdMaps:
    size = given.get("size", str(DEFAULT_SIZE))
    if not _NUMBER.fullmatch(size) or not 0 < int(size) < HIGHEST_ID:
        raise _refusal(text, f"size {size[:40]!r} is no number of ids")
    user, group = context.run_as_user.value, context.run_as_group.value
    for key in _FLAGS:
        if given.get(key, "false") not in ("true", "false"):
            raise _refusal(text, f"{key} is true or false")
        if given.get(key) == "true":
            inside = (user, group) if key == "keep-id" else (0, 0)
            uids = [*uids, IdMapping(inside[0], user, 1)]
            gids = [*gids, IdMapping(inside[1], group, 1)]
    return IdMaps(
        _fill(int(size), uids, _set_aside(files[0]), [run for maps in taken for run in maps.uids]),
        _fill(int(size), gids, _set_aside(files[1]), [run for maps in taken for run in maps.gids]),
    )


def _fill(size: int, fixed: list[IdMapping], ranges: Sequence[range], taken: Sequence[IdMapping]) -> list[IdMapping]:
    """`fixed`, and for the rest of the container's first `size` ids one free range of the host's."""
    gaps = [range(size)]
    for run in fixed:
        end = run.container_id + run.size
        gaps = [
            part
            for gap in gaps
            for part in (
                range(gap.start, min(gap.stop, run.container_id)),
                range(max(gap.start, end), gap.stop),
            )
            if part
        ]
    host_id = _free(sum(map(len, gaps)), ranges, [*taken, *fixed])
    found = list(fixed)
    for gap in gaps:
        found.append(IdMapping(gap.start, host_id, len(gap)))
        host_id += len(gap)
    return sorted(found, key=lambda run: run.container_id)


def _free(count: int, ranges: Sequence[range], taken: Sequence[IdMapping]) -> int:
    """The first of `count` neighbouring ids that are set aside and that nobody has."""
    used = sorted((run.host_id, run.host_id + run.size) for run in taken)
    for possible in ranges:
        start = possible.start
        for first, end in used:
            if first >= start + count:
                break
            start = max(start, end)
        if start + count <= possible.stop:
            return start
    raise ResourceExhausted(
        f"cannot give the pod a user namespace: of the ids of user {OWNER} in {_FILES[0]} and {_FILES[1]} there are "
        f"not {count} free; set more aside, or ask for less (size=)"
    )


def _set_aside(path: str) -> list[range]:
    """The ids of the user in a file of subuid(5)."""
    found = []
    try:
        text = read_bounded(path, _LIMIT).decode("utf-8", "replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        name, _, numbers = line.partition(":")
        first, _, count = numbers.strip().partition(":")
        if name == OWNER and _NUMBER.fullmatch(first) and _NUMBER.fullmatch(count):
            found.append(range(int(first), min(int(first) + int(count), HIGHEST_ID + 1)))
    if not found:
        raise FailedPrecondition(
            f"cannot give the pod a user namespace: {path} sets no ids aside for user {OWNER}; add a line such as "
            f"{OWNER}:2147483648:1073741824, or set hostUsers: false in the pod"
        )
    return found


def _check(text: str, maps: IdMaps, lowest_uid: int, lowest_gid: int) -> None:
    for runs, lowest in ((maps.uids, lowest_uid), (maps.gids, lowest_gid)):
        if not any(run.container_id == 0 and run.size for run in runs):
            raise _refusal(text, "the container's root has no place in it")
        end = 0
        for run in sorted(runs, key=lambda run: run.container_id):
            if run.container_id < end:
                raise _refusal(text, f"id {run.container_id} is mapped twice")
            end = run.container_id + run.size
            if not run.size or max(end, run.host_id + run.size) - 1 > HIGHEST_ID:
                raise _refusal(text, f"{run.container_id}:{run.host_id}:{run.size} leaves the range of ids")
            if run.host_id < max(lowest, 1):
                # The host's root is nobody's.
                raise _refusal(text, f"id {run.host_id} of the host is below {max(lowest, 1)}, the lowest for pods")


def _refusal(text: str, reason: str) -> InvalidArgument:
    return InvalidArgument(f"cannot use annotation {USERNS_MODE}={text[:100]!r}: {reason}")
