"""What runs, and where: command, arguments, working directory."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence

from crio.base.errors import InvalidArgument
from crio.base.regex import regex

# A descriptor that leaks into the runtime would make such a directory one of the host (CVE-2024-21626). /dev/fd is a
# link to /proc/self/fd that runtimes make.
_DESCRIPTORS = regex(r"/proc/(self|thread-self|\d+)(/task/\d+)?/(fd|cwd|root|map_files)(/.*)?|/dev/(fd|std\w+)(/.*)?")
_MAX_PATH = 4096


def arguments(
    command: Sequence[str], args: Sequence[str], entrypoint: Sequence[str], image_command: Sequence[str]
) -> list[str]:
    """The argument vector, by the rules of the OCI image specification as Kubernetes documents them.

    A command replaces the image's entrypoint and its default arguments; arguments alone replace only the latter.
    Raises InvalidArgument if nothing is left to run.
    """
    vector = [*command, *args] if command else [*entrypoint, *(args or image_command)]
    if not vector:
        raise InvalidArgument("cannot create container: no command specified, neither by the request nor by the image")
    check_arguments(vector, "create container")
    return vector


def check_arguments(vector: Sequence[str], what: str) -> None:
    """Raise InvalidArgument for arguments that no program can be called with. `what` cannot be done then."""
    if not vector or not vector[0]:
        raise InvalidArgument(f"cannot {what}: the command is empty")
    if any("\0" in argument for argument in vector):
        raise InvalidArgument(f"cannot {what}: an argument contains a NUL character")


def working_directory(requested: str, image: str) -> str:
    """The absolute working directory: the request's, else the image's, else "/". Raises InvalidArgument."""
    path = posixpath.join("/", requested or image)
    if "\0" in path or len(path) > _MAX_PATH:
        raise InvalidArgument("cannot create container: the working directory is no usable path")
    if any(_DESCRIPTORS.fullmatch(step) for step in _steps(path)):
        raise InvalidArgument(
            f"cannot create container: working directory {path[:200]} leads through an open descriptor of a process"
        )
    return path


def _steps(path: str) -> Iterator[str]:
    """Every directory that a look-up of the path passes through: `..` may lead out of a descriptor again."""
    current: list[str] = []
    for part in path.split("/"):
        if part == "..":
            current = current[:-1]
        elif part not in ("", "."):
            current.append(part)
        yield "/" + "/".join(current)


def runs_systemd(first_argument: str) -> bool:
    """Whether the container's first process will be an init system that wants its file systems prepared."""
    return "/sbin/init" in first_argument or posixpath.basename(first_argument) == "systemd"
