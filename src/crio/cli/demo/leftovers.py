"""What a container runtime can leave behind on a machine, as sets that can be compared.

Take a `Snapshot` before and one after; `new_things` tells what came into being between. On a machine where others work
too, `marks` (ids, names, paths of ours) tell which of those are ours.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

NAMESPACE_DIRECTORIES = ("netns", "ipcns", "utsns", "userns", "pidns")
RUN_DIRECTORIES = ("/run", "/var/run")
_COMMANDS: Sequence[Sequence[str]] = (
    ("nft", "--terse", "list", "ruleset"),
    ("iptables-save",),
    ("ip6tables-save",),
)
_COMMAND_SECONDS = 20.0
_COUNTER = re.compile(r"counter packets \d+ bytes \d+")
"""What went past a rule meanwhile makes it no other rule."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything of a kind that is there at one moment, each item as one line of text."""

    mounts: frozenset[str]
    namespaces: frozenset[str]
    links: frozenset[str]
    cgroups: frozenset[str]
    processes: frozenset[str]
    sockets: frozenset[str]
    rules: frozenset[str]
    files: frozenset[str]
    temporary: frozenset[str]

    @classmethod
    def take(cls, directories: Iterable[str] = ()) -> Snapshot:
        """Look at the machine, and at all files below `directories`."""
        return cls(
            mounts=frozenset(_mounts()),
            namespaces=frozenset(_namespaces()),
            links=frozenset(_links()),
            cgroups=frozenset(_cgroups()),
            processes=frozenset(_processes()),
            sockets=frozenset(_sockets()),
            rules=frozenset(_rules()),
            files=frozenset(path for directory in directories for path in files_below(directory)),
            temporary=frozenset(_temporary()),
        )

    def count(self, kind: str) -> int:
        """How many things of a kind there are."""
        return len(getattr(self, kind))


KINDS: tuple[str, ...] = tuple(each.name for each in fields(Snapshot))


def new_things(before: Snapshot, after: Snapshot, marks: Sequence[str] | None = None) -> dict[str, list[str]]:
    """What is in `after` and was not in `before`, by kind; kinds without any are left out.

    With `marks`, only what contains one of them.
    """
    found: dict[str, list[str]] = {}
    for kind in KINDS:
        items = getattr(after, kind) - getattr(before, kind)
        if marks is not None:
            items = {item for item in items if any(mark in item for mark in marks)}
        if items:
            found[kind] = sorted(items)
    return found


def cni_chain_mark(network: str, pod: str) -> str:
    """The part of the iptables chain names that the CNI plug-ins derive from a network's name and a pod's id."""
    return hashlib.sha512(f"{network}{pod}".encode()).hexdigest()[:16]


def family_marks(pid: int) -> list[str]:
    """Marks for a process and all its descendants of this moment, to find those that stay when it has gone."""
    parents: dict[int, int] = {}
    starts: dict[int, int] = {}
    for name in filter(str.isdigit, _names("/proc")):
        try:
            status = _status(name)
        except (OSError, IndexError):
            continue
        parents[int(name)], starts[int(name)] = int(status[1]), int(status[19])
    family = {pid} & set(starts)
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return [_process_mark(member, starts[member]) for member in sorted(family)]


def _process_mark(pid: int | str, start: int) -> str:
    return f"{pid} since {start}:"


def _status(pid: str) -> list[bytes]:
    """The fields of /proc/PID/stat from the state on; the name before it may hold anything."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()


def _mounts() -> Iterator[str]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            parts, kind = before.split(), after.split()
            yield f"{parts[4]} ({kind[0]} {kind[1]} {parts[3]})"


def _namespaces() -> Iterator[str]:
    seen: set[str] = set()
    for run in map(os.path.realpath, RUN_DIRECTORIES):
        for kind in NAMESPACE_DIRECTORIES:
            directory = os.path.join(run, kind)
            if directory not in seen:
                seen.add(directory)
                yield from (os.path.join(directory, name) for name in _names(directory))


def _links() -> Iterator[str]:
    """Network interfaces of this namespace, with the bridge that they belong to."""
    for name in _names("/sys/class/net"):
        directory = f"/sys/class/net/{name}"
        try:
            master = os.path.basename(os.readlink(f"{directory}/master"))
        except OSError:
            master = ""
        if os.path.isdir(directory):
            yield f"{name} in {master}" if master else name


def _cgroups() -> Iterator[str]:
    """Directories of every hierarchy, below their mount points."""
    roots: set[str] = set()
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            if after.split()[0] in ("cgroup", "cgroup2"):
                roots.add(before.split()[4])
    for root in roots:
        for directory, _, _ in os.walk(root):
            yield directory


def _processes() -> Iterator[str]:
    """Processes by pid, start time, command line, cgroups and directory; kernel threads are left out."""
    for name in filter(str.isdigit, _names("/proc")):
        try:
            status = _status(name)
            with open(f"/proc/{name}/cmdline", "rb") as file:
                command = file.read(4096).replace(b"\0", b" ").decode("utf-8", "replace").strip()
            with open(f"/proc/{name}/cgroup", "rb") as file:
                groups = {line.split(":", 2)[-1] for line in file.read().decode("utf-8", "replace").splitlines()}
            directory = os.readlink(f"/proc/{name}/cwd")
        except (OSError, IndexError):
            continue
        # 2 is kthreadd, the parent of every kernel thread.
        if status[1] != b"2" and name != "2" and status[0] != b"Z":
            where = " ".join(sorted(groups - {"/"}))
            yield f"{_process_mark(name, int(status[19]))} {command or '?'} in {directory} {where}".rstrip()


def _sockets() -> Iterator[str]:
    with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            parts = line.split(maxsplit=7)
            if len(parts) == 8 and parts[3] == "00010000":
                yield parts[7].strip()


def _rules() -> Iterator[str]:
    for argv in _COMMANDS:
        try:
            completed = subprocess.run(argv, capture_output=True, timeout=_COMMAND_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        context = ""
        for line in _COUNTER.sub("counter", completed.stdout.decode("utf-8", "replace")).splitlines():
            if line.startswith((" ", "\t")):
                yield f"{argv[0]}: {context} {' '.join(line.split())}"
            elif line and not line.startswith(("#", "}")):
                # A counter at a chain's head changes all the time.
                context = line.split(" [")[0]
                yield f"{argv[0]}: {context}"


def _temporary() -> Iterator[str]:
    """What crun and runc mount themselves upon for their protection, for a moment unless they are killed."""
    return (f"/tmp/{name}" for name in _names("/tmp") if name.startswith(("crun.", "runc.")))


def files_below(directory: str) -> Iterator[str]:
    """Every path below a directory; links are not followed."""
    for path, directories, files in os.walk(directory):
        for name in (*directories, *files):
            yield os.path.join(path, name)


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
