"""Environment variables: crio.conf's, the image's, the request's; a later one wins in the earlier one's place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment(
    *,
    defaults: Sequence[str],
    image: Sequence[str],
    requested: Iterable[pb.KeyValue],
    hostname: str,
    terminal: bool,
    warnings: list[str],
) -> dict[str, str]:
    """The variables by name, in the order in which the process gets them.

    Raises InvalidArgument for a NUL anywhere, and for a line break in HOME: it would add a line to the passwd file that
    is made from it (CVE-2022-4318, CVE-2026-15809).
    """
    variables = {"PATH": DEFAULT_PATH}
    if terminal:
        variables["TERM"] = "xterm"
    variables["HOSTNAME"] = hostname
    for item in (*defaults, *image):
        name, _, value = item.partition("=")
        if name:
            variables[name] = value
    for pair in requested:
        name = pair.key
        if not name:
            continue
        if "=" in name:
            raise InvalidArgument(f"cannot create container: the name of variable {name[:100]!r} contains '='")
        try:
            variables[name] = pair.value.decode()
        except UnicodeDecodeError:
            # The specification is JSON, which has no other bytes than UTF-8.
            variables[name] = pair.value.decode("utf-8", "replace")
            warnings.append(f"the value of variable {name[:100]} is not UTF-8: other bytes are replaced")
    for name, value in variables.items():
        if "\0" in value or "\0" in name:
            raise InvalidArgument(f"cannot create container: variable {name[:100]!r} contains a NUL character")
    home = variables.get("HOME", "")
    if "\n" in home or "\r" in home:
        raise InvalidArgument("cannot create container: variable HOME contains a line break")
    return variables


def as_list(variables: dict[str, str]) -> list[str]:
    """In the form of the specification, "NAME=value"."""
    return [f"{name}={value}" for name, value in variables.items()]
