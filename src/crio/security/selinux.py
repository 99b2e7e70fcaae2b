"""SELinux labels of pods and containers: how they are made from the request and the policy, and kept apart by MCS.

Every pod gets a pair of categories of its own (`s0:c12,c700`), so that one pod's processes cannot touch another's
files. Without SELinux on the node all labels are empty strings, and nothing here is needed.
"""

from __future__ import annotations

import secrets

import msgspec

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument, ResourceExhausted
from crio.base.regex import regex
from crio.linux import selinux

CATEGORIES = 1024
_FIELD = regex(r"[A-Za-z0-9_.-]{1,255}")
_LEVEL = regex(r"s\d{1,4}(-s\d{1,4})?(:c\d{1,4}([.,]c\d{1,4})*)?(-s\d{1,4}(:c\d{1,4}([.,]c\d{1,4})*)?)?")
_PAIR = regex(r"c(\d{1,4}),c(\d{1,4})")

SUPER_PRIVILEGED = "spc_t"
"""A container of this type is confined by nothing and never has its volumes relabelled."""


class Context(msgspec.Struct, frozen=True):
    """`user:role:type:level`. Made by `parse`; `str()` gives the label."""

    user: str
    role: str
    type: str
    level: str = "s0"

    def __str__(self) -> str:
        return f"{self.user}:{self.role}:{self.type}:{self.level}"


class Labels(msgspec.Struct, frozen=True):
    """What the process runs as, and what its files carry; "" means no label."""

    process: str = ""
    mount: str = ""


class PolicyContexts(msgspec.Struct, frozen=True):
    """The policy's own labels for containers, without categories."""

    process: Context
    file: Context
    kvm: Context
    init: Context


def parse(label: str) -> Context:
    """Raises InvalidArgument if a field is missing or has characters that no label has."""
    parts = label.split(":", 3)
    if len(parts) < 3 or not all(_FIELD.fullmatch(part) for part in parts[:3]):
        raise InvalidArgument(f"cannot use SELinux label {label[:200]!r}: it is not user:role:type:level")
    level = parts[3] if len(parts) == 4 else "s0"
    if not _LEVEL.fullmatch(level):
        raise InvalidArgument(f"cannot use SELinux level {level[:200]!r}: it is not of the form s0:c1,c2")
    return Context(parts[0], parts[1], parts[2], level)


def load_policy_contexts() -> PolicyContexts:
    """From the policy's lxc_contexts file; those of container-selinux where it says nothing."""
    found = selinux.container_contexts()
    process = found.get("process", "system_u:system_r:container_t:s0")
    return PolicyContexts(
        process=parse(process),
        file=parse(found.get("file", "system_u:object_r:container_file_t:s0")),
        kvm=parse(found.get("kvm_process", process)),
        init=parse(found.get("init_process", process)),
    )


class McsPairs:
    """The category pairs in use on this node. Not for several threads."""

    def __init__(self, categories: int = CATEGORIES) -> None:
        self._categories = categories
        self._used: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self._used)

    def allocate(self) -> str:
        """A level whose pair no other pod has. Raises ResourceExhausted when every pair is taken."""
        if len(self._used) >= self._categories * (self._categories - 1) // 2:
            raise ResourceExhausted("cannot separate the pod by SELinux: all pairs of categories are in use")
        while True:
            first, second = secrets.randbelow(self._categories), secrets.randbelow(self._categories)
            pair = (min(first, second), max(first, second))
            if first != second and pair not in self._used:
                self._used[pair] = 1
                return f"s0:c{pair[0]},c{pair[1]}"

    def reserve(self, label: str) -> None:
        """Count a label (or level) of a pod that exists, after a restart or as the pod's request names it."""
        pair = _pair(label)
        if pair is not None:
            self._used[pair] = self._used.get(pair, 0) + 1

    def release(self, label: str) -> None:
        """The counterpart of `allocate` and `reserve`; a label that is not known is fine."""
        pair = _pair(label)
        if pair is None or pair not in self._used:
            return
        if self._used[pair] > 1:
            self._used[pair] -= 1
        else:
            del self._used[pair]


def _pair(label: str) -> tuple[int, int] | None:
    match = _PAIR.search(label)
    if match is None:
        return None
    first, second = int(match[1]), int(match[2])
    return (min(first, second), max(first, second))


def pod_labels(option: pb.SELinuxOption, pairs: McsPairs, policy: PolicyContexts) -> Labels:
    """The labels of a new pod: the policy's with the request's fields over them, and a pair of its own.

    A level in the request is taken as it is, and counted. Raises InvalidArgument for a field that is none.
    """
    process = _with_option(policy.process, option)
    if option.level:
        pairs.reserve(option.level)
    else:
        process = msgspec.structs.replace(process, level=pairs.allocate())
    return Labels(str(process), str(msgspec.structs.replace(policy.file, level=process.level)))


def container_labels(pod: Labels, option: pb.SELinuxOption) -> Labels:
    """A container's labels: its pod's, with the fields of the container's own request over them."""
    if not pod.process:
        return pod
    process = _with_option(parse(pod.process), option)
    mount = msgspec.structs.replace(parse(pod.mount), level=process.level) if pod.mount else ""
    return Labels(str(process), str(mount))


def as_type_of(label: str, model: Context) -> str:
    """`label` with the type of `model` (a VM's, an init system's), categories kept; the model itself for no label."""
    return str(msgspec.structs.replace(parse(label), type=model.type)) if label else str(model)


def _with_option(context: Context, option: pb.SELinuxOption) -> Context:
    changed = {
        name: value
        for name, value in (
            ("user", option.user),
            ("role", option.role),
            ("type", option.type),
            ("level", option.level),
        )
        if value
    }
    return parse(str(msgspec.structs.replace(context, **changed))) if changed else context
