"""OCI hooks from directories (oci-hooks(5), versions 1.0.0 and 0.1.0): programs that the runtime calls.

A file says when its hook counts: always, for some commands or annotations, or for containers with volumes.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct, field

from crio.base.errors import CrioError
from crio.base.files import read_bounded
from crio.base.jsontext import UNREADABLE
from crio.spec import oci_runtime as oci

log = logging.getLogger(__name__)

MAX_FILE = 1 << 20
STAGES = frozenset({"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"})


class _When(Struct, frozen=True, rename="camel"):
    always: bool | None = None
    annotations: dict[str, str] = {}
    commands: tuple[str, ...] = ()
    has_bind_mounts: bool | None = None


class _Version1(Struct, frozen=True):
    version: str
    hook: oci.Hook
    stages: tuple[str, ...]
    when: _When = field(default_factory=_When)


class _Version0(Struct, frozen=True):
    """0.1.0, which has no version field; each list has a singular and a plural spelling."""

    hook: str
    arguments: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    stage: tuple[str, ...] = ()
    cmds: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()
    annotation: tuple[str, ...] = ()
    hasbindmounts: bool | None = None


class HookFile(msgspec.Struct, frozen=True):
    """A file's hook and its conditions, ready to be matched."""

    hook: oci.Hook
    stages: tuple[str, ...]
    always: bool | None
    has_bind_mounts: bool | None
    annotations: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...]
    commands: tuple[re.Pattern[str], ...]
    any_condition: bool
    """Version 0.1.0: one condition suffices; later all must hold."""

    def matches(self, command: str, annotations: Mapping[str, str], *, has_bind_mounts: bool) -> bool:
        conditions = []
        if self.always is not None:
            conditions.append(self.always)
        if self.has_bind_mounts is not None:
            conditions.append(self.has_bind_mounts and has_bind_mounts)
        conditions += [
            any(key.search(name) and value.search(text) for name, text in annotations.items())
            for key, value in self.annotations
        ]
        if self.commands:
            conditions.append(any(pattern.search(command) for pattern in self.commands))
        return any(conditions) if self.any_condition else bool(conditions) and all(conditions)


def parse(data: bytes) -> HookFile:
    """A hook file. Raises ValueError with what is wrong."""
    try:
        version = msgspec.json.decode(data, type=dict[str, object]).get("version")
        if version is not None:
            if version != "1.0.0":
                raise ValueError(f"version {str(version)[:40]!r} is not 1.0.0")
            parsed = _from_version_1(msgspec.json.decode(data, type=_Version1))
        else:
            parsed = _from_version_0(msgspec.json.decode(data, type=_Version0))
    except (*UNREADABLE, re.error) as error:
        raise ValueError(str(error)) from None
    for stage in parsed.stages:
        if stage not in STAGES:
            raise ValueError(f"there is no stage {stage[:40]!r}")
    if not parsed.stages:
        raise ValueError("it names no stage")
    if not os.path.isabs(parsed.hook.path):
        raise ValueError("the hook's path is not absolute")
    return parsed


def _from_version_1(file: _Version1) -> HookFile:
    when = file.when
    return HookFile(
        file.hook,
        file.stages,
        when.always,
        when.has_bind_mounts,
        tuple((re.compile(key), re.compile(value)) for key, value in when.annotations.items()),
        tuple(re.compile(command) for command in when.commands),
        False,
    )


def _from_version_0(file: _Version0) -> HookFile:
    for one, several in ((file.stage, file.stages), (file.cmd, file.cmds), (file.annotation, file.annotations)):
        if one and several:
            raise ValueError("a list is there in the singular and in the plural spelling")
    values = file.annotations or file.annotation
    return HookFile(
        oci.Hook(file.hook, [file.hook, *file.arguments] if file.arguments else []),
        file.stages or file.stage,
        None,
        file.hasbindmounts,
        ((re.compile(""), re.compile("|".join(values))),) if values else (),
        tuple(re.compile(command) for command in file.cmds or file.cmd),
        True,
    )


class HookDirectories:
    """The hooks of this node. A file in a later directory replaces one of the same name in an earlier one.

    Directories are looked at again for each container, which costs two system calls as long as nothing changes.
    """

    def __init__(self, directories: Sequence[str]) -> None:
        self._directories = tuple(directories)
        self._seen: tuple[int, ...] = ()
        self._hooks: list[HookFile] = []

    def set_directories(self, directories: Sequence[str]) -> None:
        """Take over crio.runtime.hooks_dir."""
        self._directories, self._seen = tuple(directories), ()

    def inject(self, spec: oci.Spec, annotations: Mapping[str, str], *, has_bind_mounts: bool) -> None:
        """Add the hooks that match the container, ordered by file name."""
        self._refresh()
        for file in self._hooks:
            if not file.matches(spec.process.args[0], annotations, has_bind_mounts=has_bind_mounts):
                continue
            if spec.hooks is None:
                spec.hooks = oci.Hooks()
            for stage in file.stages:
                self._stage(spec.hooks, stage).append(file.hook)

    @staticmethod
    def _stage(hooks: oci.Hooks, stage: str) -> list[oci.Hook]:
        # prestart is deprecated in the specification, and createRuntime its exact successor.
        return {
            "prestart": hooks.create_runtime,
            "createRuntime": hooks.create_runtime,
            "createContainer": hooks.create_container,
            "startContainer": hooks.start_container,
            "poststart": hooks.poststart,
            "poststop": hooks.poststop,
        }[stage]

    def _refresh(self) -> None:
        """A file written in place without touching its directory is seen through its own time stamp."""
        paths: dict[str, str] = {}
        stamps: list[int] = []
        for directory in self._directories:
            try:
                entries = os.scandir(directory)
            except OSError:
                continue
            with entries:
                for entry in entries:
                    if entry.name.endswith(".json"):
                        paths[entry.name] = entry.path
        for name in sorted(paths):
            try:
                status = os.stat(paths[name])
            except OSError:
                continue
            stamps += [status.st_ino, status.st_size, status.st_mtime_ns]
        if tuple(stamps) != self._seen:
            self._seen = tuple(stamps)
            self._hooks = [hook for name in sorted(paths, key=str.lower) if (hook := _load(paths[name])) is not None]


def _load(path: str) -> HookFile | None:
    try:
        return parse(read_bounded(path, MAX_FILE))
    except (ValueError, CrioError, OSError) as error:
        log.warning("hook file %s is not used: %s", path, error)
        return None
