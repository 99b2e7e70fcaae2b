"""Plug-ins that are programs: finding them, asking their versions, running them."""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from crio.base.errors import InvalidArgument
from crio.base.jsontext import UNREADABLE
from crio.base.process import DEFAULT_PATH, Completed, ProcessTimeout, run
from crio.base.regex import regex
from crio.network.plugin import ADD, PluginFailed, PluginRequest
from crio.spec.cni import ErrorResult, check_plugin_type, parse_result

MAX_RESULT = 1 << 20
"""Bytes of a plug-in's output that are read."""

_VERSION_TIMEOUT = 10.0
_NOT_PASSED_ON = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC", "WATCHDOG_PID", "CRIO_FAILPOINTS")
_BANNER = regex(rb"CNI (?P<name>[a-z0-9-]+) plugin (?P<release>[^\n]*)\nCNI protocol versions supported: (.+)")


def find_plugin(kind: str, directories: Sequence[str]) -> str | None:
    """The path of the program for a plug-in type: the first that can be executed."""
    check_plugin_type(kind)
    for directory in directories:
        path = os.path.join(directory, kind)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


class _Versions(msgspec.Struct):
    supported: list[str] = msgspec.field(name="supportedVersions", default_factory=list)


async def supported_versions(path: str, directories: Sequence[str]) -> list[str]:
    """What a plug-in answers to VERSION. Raises InvalidArgument if that can't be understood, OSError."""
    environment = _environment(directories) | {"CNI_COMMAND": "VERSION"}
    # Plug-ins older than 0.2.0 want every variable, and then fail.
    environment |= dict.fromkeys(("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"), "dummy")
    question = b'{"cniVersion":"1.1.0"}'
    try:
        completed = await run([path], timeout=_VERSION_TIMEOUT, env=environment, stdin=question, check=False)
        answer = msgspec.json.decode(completed.stdout, type=_Versions)
    except (*UNREADABLE, ProcessTimeout) as error:
        raise InvalidArgument(f"cannot ask {path} for its versions: {error}") from None
    return answer.supported or ["0.1.0"]


async def standard_release(path: str, kind: str, directories: Sequence[str]) -> tuple[str, list[str]] | None:
    """Release and versions if this is the CNI project's own plug-in of that name, by what it prints without a verb."""
    environment = _environment(directories)
    try:
        completed = await run([path], timeout=_VERSION_TIMEOUT, env=environment, stdin=b"", check=False)
    except (ProcessTimeout, OSError):
        return None
    match = _BANNER.search(completed.stderr)
    if match is None or match["name"].decode() != kind:
        return None
    release, versions = match["release"].decode("utf-8", "replace"), match[3].decode("utf-8", "replace")
    return release, [version.strip() for version in versions.split(",")]


class Executable:
    """A plug-in program. `directories` are where it finds the programs that it calls itself."""

    builtin = False

    def __init__(self, path: str, directories: Sequence[str]) -> None:
        self.path = path
        self._directories = directories

    async def call(self, request: PluginRequest, timeout: float) -> bytes:
        environment = _environment(self._directories) | {
            "CNI_COMMAND": request.verb,
            "CNI_CONTAINERID": request.container_id,
            "CNI_NETNS": request.netns,
            "CNI_IFNAME": request.interface,
            "CNI_ARGS": request.arguments,
        }
        try:
            completed = await run(
                [self.path],
                timeout=timeout,
                env=environment,
                stdin=msgspec.json.encode(request.document),
                max_output=MAX_RESULT,
                check=False,
                start_new_session=True,
            )
        except ProcessTimeout:
            raise PluginFailed(request, f"it did not end within {timeout:g} s and was killed") from None
        except OSError as error:
            raise PluginFailed(request, f"cannot start {self.path}: {error.strerror}") from None
        if completed.returncode != 0:
            raise _failure(request, completed)
        if request.verb != ADD:
            return b""
        try:
            parse_result(completed.stdout, request.version)
        except InvalidArgument as error:
            raise PluginFailed(request, f"its result cannot be used: {error.message}{_stderr(completed)}") from None
        return completed.stdout


def _environment(directories: Sequence[str]) -> dict[str, str]:
    """The daemon's own environment, as plug-ins expect it (proxies, kubeconfig), without what is meant for it alone."""
    environment = {key: value for key, value in os.environ.items() if key not in _NOT_PASSED_ON}
    for key in ("CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"):
        environment.pop(key, None)
    environment.setdefault("PATH", DEFAULT_PATH)
    environment["CNI_PATH"] = ":".join(directories)
    return environment


def _failure(request: PluginRequest, completed: Completed) -> PluginFailed:
    try:
        said = msgspec.json.decode(completed.stdout, type=ErrorResult)
    except UNREADABLE:
        how = f"exit code {completed.returncode}" if completed.returncode > 0 else f"signal {-completed.returncode}"
        text = completed.error_text
        return PluginFailed(request, f"{how}{f': {text}' if text else ' and no message'}")
    return PluginFailed(request, said.sentence() + _stderr(completed), said.code)


def _stderr(completed: Completed) -> str:
    text = " ".join(completed.stderr[-2048:].decode("utf-8", "replace").split())
    return f" (on stderr: {text})" if text else ""
