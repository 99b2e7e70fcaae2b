"""Seccomp profiles: the JSON that people write, resolved for a container's architecture and capabilities.

A profile has conditions (architectures, capabilities, kernel version) that the OCI runtime specification has not.
Compiling drops the rules whose conditions fail. The result is kept in its encoded form for each set of capabilities
that the profile asks about, so that most containers share one.
"""

from __future__ import annotations

import base64
import errno
import logging
import os
import re
from collections.abc import Callable, Iterable

import msgspec
from msgspec import Raw, Struct, field

from crio.base.errors import CrioError, InvalidArgument, Unimplemented
from crio.base.files import read_bounded
from crio.base.jsontext import UNREADABLE
from crio.base.regex import regex
from crio.linux.seccomp import ARCHITECTURES, SHORT_ARCHITECTURES
from crio.spec import oci_runtime as oci

log = logging.getLogger(__name__)

MAX_PROFILE = 1 << 20
"""Bytes of a profile that are read at most."""

_BUILT_IN = os.path.join(os.path.dirname(__file__), "default_seccomp.json")
_MAX_COMPILED = 64
_NOTIFY = "SCMP_ACT_NOTIFY"
_MAX_FILES = 256
_NUMBER = regex(r"[0-9]{1,4}")
_VERSION = regex(r"[0-9]{1,4}\.[0-9]{1,4}")
_OPERATORS = frozenset(f"SCMP_CMP_{name}" for name in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"))
_ACTIONS = frozenset(
    f"SCMP_ACT_{name}" for name in "KILL KILL_PROCESS KILL_THREAD TRAP ERRNO TRACE ALLOW LOG NOTIFY".split()
)
_FAILING = frozenset({"SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD"})


class Condition(Struct, frozen=True, rename="camel"):
    """When a rule counts (`includes`: all must hold) or does not (`excludes`: one suffices)."""

    arches: tuple[str, ...] = ()
    caps: tuple[str, ...] = ()
    min_kernel: str = ""


class Rule(Struct, frozen=True, rename="camel"):
    action: str = field(name="action")
    name: str = ""
    names: tuple[str, ...] = ()
    args: tuple[oci.SeccompArg, ...] | None = ()
    errno_ret: int | None = None
    errno: str = ""
    includes: Condition = Condition()
    excludes: Condition = Condition()


class ArchitectureMap(Struct, frozen=True, rename="camel"):
    architecture: str = field(name="architecture")
    sub_architectures: tuple[str, ...] | None = ()


class Document(Struct, frozen=True, rename="camel"):
    """A profile file: the containers projects' format, of which the specification's own `seccomp` object is a part."""

    default_action: str = field(name="defaultAction")
    default_errno_ret: int | None = None
    default_errno: str = ""
    architectures: tuple[str, ...] | None = ()
    arch_map: tuple[ArchitectureMap, ...] | None = ()
    flags: tuple[str, ...] | None = ()
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: tuple[Rule, ...] | None = ()


_decoder = msgspec.json.Decoder(Document)

Deferrer = Callable[[Callable[[], None]], object]
"""Runs a function soon, in a thread."""


class Target(msgspec.Struct, frozen=True):
    """The kernel that a filter is for: its machine as uname(2) names it, and what it cannot run."""

    machine: str
    absent: frozenset[str] = frozenset()


class Profile:
    """A checked profile that can be compiled for containers. Safe to share; never changes."""

    def __init__(self, document: Document, source: str, defer: Deferrer | None = None) -> None:
        self.source = source
        self._defer = defer
        self._document = document
        self._asked_caps = frozenset(
            name
            for rule in document.syscalls or ()
            for condition in (rule.includes, rule.excludes)
            for name in condition.caps
        )
        self._compiled: dict[frozenset[str], Raw] = {}
        self._programs: dict[frozenset[str], str] = {}

    def compile(self, capabilities: Iterable[str], target: Target) -> Raw:
        """The `linux.seccomp` object for a container with these capabilities (its bounding set).

        `target` is the same for all calls: that of the running kernel.
        """
        asked = self._asked_caps.intersection(capabilities)
        found = self._compiled.get(asked)
        if found is None:
            found = oci.encode_raw(self.resolve(asked, target))
            if len(self._compiled) >= _MAX_COMPILED:
                self._compiled.clear()
            self._compiled[asked] = found
        return found

    def program(self, capabilities: Iterable[str], target: Target) -> str:
        """The same as the kernel's filter program, in base64; "" if there is none (yet).

        Making it takes some 15 ms: where work can be deferred, the first containers of a profile go without. Filters
        with flags or a listener are left to the runtime.
        """
        asked = self._asked_caps.intersection(capabilities)
        if asked not in self._programs:
            if len(self._programs) >= _MAX_COMPILED:
                self._programs.clear()
            self._programs[asked] = ""
            if self._defer is None:
                self.make_program(asked, target)
            else:
                self._defer(lambda: self.make_program(asked, target))
        return self._programs.get(asked, "")

    def make_program(self, capabilities: Iterable[str], target: Target) -> None:
        """Make the program that `program` returns from then on; in a thread, if there is a loop to hold up."""
        asked = self._asked_caps.intersection(capabilities)
        rules = self.resolve(asked, target)
        if rules.flags or rules.listener_path or any(rule.action == _NOTIFY for rule in rules.syscalls):
            self._programs[asked] = ""
            return
        from crio.linux.libseccomp import export_bpf  # lazy: only for runtimes that take a program

        try:
            self._programs[asked] = base64.b64encode(export_bpf(rules)).decode()
        except Unimplemented as error:
            log.info("seccomp profile %s is compiled by the runtime: %s", self.source, error)
            self._programs[asked] = ""

    def compile_notified(self, capabilities: Iterable[str], target: Target, listener: str, metadata: str) -> Raw:
        """As `compile`, but calls that a rule makes fail are reported to the socket `listener` instead.

        The default action cannot be reported: a filter which asks about every call would stop the runtime itself.
        """
        resolved = self.resolve(self._asked_caps.intersection(capabilities), target)
        for rule in resolved.syscalls:
            if rule.action in _FAILING:
                rule.action, rule.errno_ret = _NOTIFY, None
        resolved.listener_path, resolved.listener_metadata = listener, metadata
        return oci.encode_raw(resolved)

    def resolve(self, capabilities: frozenset[str], target: Target) -> oci.Seccomp:
        """The rules whose conditions hold; plain rules with the same action are joined into one."""
        document = self._document
        short = SHORT_ARCHITECTURES.get(target.machine, target.machine)
        rules: list[oci.SeccompSyscall] = []
        plain: dict[tuple[str, int | None], oci.SeccompSyscall] = {}
        for rule in document.syscalls or ():
            if not _holds(rule, capabilities, short):
                continue
            names = [*rule.names, *([rule.name] if rule.name else [])]
            number = _errno(rule.errno_ret, rule.errno) if rule.action in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE") else None
            if rule.args:
                rules.append(oci.SeccompSyscall(names, rule.action, number, list(rule.args)))
                continue
            joined = plain.get((rule.action, number))
            if joined is None:
                joined = plain[rule.action, number] = oci.SeccompSyscall([], rule.action, number)
                rules.append(joined)
            joined.names += names
        return oci.Seccomp(
            default_action=document.default_action,
            default_errno_ret=_errno(document.default_errno_ret, document.default_errno),
            architectures=self._architectures(ARCHITECTURES.get(target.machine, ""), target.absent),
            flags=list(document.flags or ()),
            listener_path=document.listener_path,
            listener_metadata=document.listener_metadata,
            syscalls=rules,
        )

    def _architectures(self, native: str, absent: frozenset[str]) -> list[str]:
        if self._document.architectures:
            return list(self._document.architectures)
        for entry in self._document.arch_map or ():
            if entry.architecture == native:
                return [native, *(name for name in entry.sub_architectures or () if name not in absent)]
        return []


def parse(data: bytes, source: str, defer: Deferrer | None = None) -> Profile:
    """A profile from JSON. Raises InvalidArgument that names `source` and what is wrong."""
    try:
        document = _decoder.decode(data)
    except UNREADABLE as error:
        raise InvalidArgument(f"cannot use seccomp profile {source}: {error}") from None
    if document.architectures and document.arch_map:
        raise InvalidArgument(f"cannot use seccomp profile {source}: it has both architectures and archMap")
    _check_action(document.default_action, source)
    _check_errno(document.default_errno, source)
    for rule in document.syscalls or ():
        _check_action(rule.action, source)
        _check_errno(rule.errno, source)
        if not rule.name and not rule.names:
            raise InvalidArgument(f"cannot use seccomp profile {source}: a rule names no system call")
        for argument in rule.args or ():
            if argument.op not in _OPERATORS or not 0 <= argument.index <= 5:
                raise InvalidArgument(
                    f"cannot use seccomp profile {source}: argument {argument.index} {argument.op!r} is no comparison"
                )
        for condition in (rule.includes, rule.excludes):
            if condition.min_kernel and not _VERSION.fullmatch(condition.min_kernel):
                raise InvalidArgument(
                    f"cannot use seccomp profile {source}: minKernel {condition.min_kernel!r} is no version"
                )
    return Profile(document, source, defer)


def _check_action(action: str, source: str) -> None:
    if action not in _ACTIONS:
        raise InvalidArgument(f"cannot use seccomp profile {source}: there is no action {action[:60]!r}")


def _check_errno(name: str, source: str) -> None:
    if name and not _NUMBER.fullmatch(name) and not isinstance(getattr(errno, name, None), int):
        raise InvalidArgument(f"cannot use seccomp profile {source}: there is no errno {name[:60]!r}")


def _errno(number: int | None, name: str) -> int | None:
    if not name:
        return number
    return int(name) if _NUMBER.fullmatch(name) else int(getattr(errno, name))


def _holds(rule: Rule, capabilities: frozenset[str], architecture: str) -> bool:
    includes, excludes = rule.includes, rule.excludes
    if includes.arches and architecture not in includes.arches:
        return False
    if architecture in excludes.arches:
        return False
    if includes.min_kernel and not _kernel_at_least(includes.min_kernel):
        return False
    if excludes.min_kernel and _kernel_at_least(excludes.min_kernel):
        return False
    return capabilities.issuperset(includes.caps) and capabilities.isdisjoint(excludes.caps)


def _kernel_at_least(wanted: str) -> bool:
    running = re.match(r"(\d+)\.(\d+)", os.uname().release)
    major, minor = wanted.split(".")
    return running is not None and (int(running[1]), int(running[2])) >= (int(major), int(minor))


class SeccompProfiles:
    """The profiles of this node: the default, those of handlers and of localhost files, each read and checked once.

    A file is read again when it has changed. `defer` takes slow work off the caller's hands. Not safe for use from
    several threads.
    """

    def __init__(self, default_path: str = "", defer: Deferrer | None = None) -> None:
        self._default_path = default_path
        self._defer = defer
        self._built_in: Profile | None = None
        self._files: dict[str, tuple[tuple[int, int, int], Profile]] = {}
        self._warned: set[str] = set()

    def set_default(self, path: str) -> None:
        """Take over crio.runtime.seccomp_profile ("": built in). Raises InvalidArgument for a malformed file."""
        if path and os.path.exists(path):
            self.from_file(path)
        self._default_path = path

    def runtime_default(self, handler_path: str = "") -> Profile:
        """What RuntimeDefault means: the handler's profile, else crio.conf's, else the built-in one.

        The built-in one also stands in for a file that is missing; a malformed file raises InvalidArgument.
        """
        for path in (handler_path, self._default_path):
            if not path:
                continue
            try:
                return self.from_file(path)
            except MissingProfile:
                if path not in self._warned:
                    self._warned.add(path)
                    log.warning("seccomp profile %s is missing: the built-in one is used in its place", path)
        return self.built_in()

    def built_in(self) -> Profile:
        if self._built_in is None:
            self._built_in = parse(read_bounded(_BUILT_IN, MAX_PROFILE), "(built-in)", self._defer)
        return self._built_in

    def from_file(self, path: str) -> Profile:
        """A localhost profile. Raises MissingProfile, InvalidArgument, ResourceExhausted."""
        if not os.path.isabs(path):
            raise InvalidArgument(f"cannot use seccomp profile {path[:200]!r}: the path is not absolute")
        try:
            status = os.stat(path)
            version = (status.st_ino, status.st_size, status.st_mtime_ns)
            known = self._files.get(path)
            if known is not None and known[0] == version:
                return known[1]
            data = read_bounded(path, MAX_PROFILE)
        except (FileNotFoundError, NotADirectoryError):
            raise MissingProfile(f"cannot use seccomp profile {path}: there is no such file on this node") from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise InvalidArgument(f"cannot use seccomp profile {path[:200]!r}: {reason}") from None
        profile = parse(data, path, self._defer)
        if len(self._files) >= _MAX_FILES:
            self._files.clear()
        self._files[path] = (version, profile)
        return profile


class MissingProfile(CrioError):
    """The named profile is not there: the caller may have a substitute."""

    code = InvalidArgument.code
