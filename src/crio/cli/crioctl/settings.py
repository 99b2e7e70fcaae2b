"""What every command needs to know: where the daemon listens, how long to wait, and a few habits.

Taken from flags, then the environment, then the configuration file (/etc/crictl.yaml, the one crictl reads), then
defaults.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from crio.base.errors import InvalidArgument, NotFound

DEFAULT_CONFIG = "/etc/crictl.yaml"
DEFAULT_ENDPOINT = "unix:///var/run/crio/crio.sock"
DEFAULT_CONNECT_SECONDS = 2.0
MAX_CONFIG_BYTES = 1 << 20

FILE_KEYS: Mapping[str, object] = {
    "runtime-endpoint": "",
    "image-endpoint": "",
    "timeout": 0,
    "debug": False,
    "pull-image-on-create": False,
    "disable-pull-on-run": False,
    "max-retries": 3,
}
"""The keys of crictl.yaml with crictl's defaults."""

_FLAT = re.compile(
    r"""(?P<key>[a-z-]+):[ \t]*"""
    r"""(?:"(?P<double>[^"\\]*)"|'(?P<single>[^']*)'|(?P<plain>[^\s"'#&*!|>{\[][^#]*?)?)"""
    r"""[ \t]*(?:[ \t]\#.*)?"""
)


class Settings(NamedTuple):
    """The resolved global options. (Not a dataclass: importing those costs as much as all of argparse.)"""

    runtime_endpoint: str = DEFAULT_ENDPOINT
    image_endpoint: str = DEFAULT_ENDPOINT
    connect_seconds: float = DEFAULT_CONNECT_SECONDS
    call_seconds: float | None = None
    """The limit of each short call; None unless the user gave one."""
    retries: int = 0
    """How often a failed connection is tried again, -1 for ever."""
    debug: bool = False
    pull_on_create: bool = False
    pull_on_run: bool = True
    config_path: str = DEFAULT_CONFIG
    file_values: Mapping[str, object] = FILE_KEYS


def resolve(flags: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    """Combine flags, environment and file. Raises NotFound when a configuration file that was asked for is missing."""
    path = flags.config or environ.get("CRI_CONFIG_FILE") or ""
    explicit: dict[str, object] = {}
    try:
        explicit = read_config(path or DEFAULT_CONFIG)
    except FileNotFoundError:
        if path and flags.command != "config":
            raise NotFound(f"cannot read the configuration {path}: no such file") from None
    values = {**FILE_KEYS, **explicit}
    from_flags = flags.runtime_endpoint or environ.get("CONTAINER_RUNTIME_ENDPOINT") or ""
    runtime = from_flags or str(values["runtime-endpoint"] or "") or DEFAULT_ENDPOINT
    image = flags.image_endpoint or environ.get("IMAGE_SERVICE_ENDPOINT") or ""
    if not image:
        image = runtime if from_flags else str(values["image-endpoint"] or "") or runtime
    file_timeout = _number(values, "timeout")
    given = flags.timeout if flags.timeout is not None and flags.timeout > 0 else None
    retries = int(_number(values, "max-retries")) if "max-retries" in explicit else 0
    return Settings(
        runtime_endpoint=normalise_endpoint(runtime),
        image_endpoint=normalise_endpoint(image),
        connect_seconds=given or (file_timeout if file_timeout > 0 else DEFAULT_CONNECT_SECONDS),
        call_seconds=given,
        retries=retries if flags.max_retries is None else flags.max_retries,
        debug=bool(flags.debug or values["debug"]),
        pull_on_create=bool(values["pull-image-on-create"]),
        pull_on_run=not values["disable-pull-on-run"],
        config_path=path or DEFAULT_CONFIG,
        file_values=values,
    )


def _number(values: Mapping[str, object], key: str) -> float:
    value = values[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidArgument(f"cannot use the configuration: {key} is {value!r}, not a number")
    return float(value)


def normalise_endpoint(endpoint: str) -> str:
    """`unix:///path` for a bare path too. Raises InvalidArgument for anything that is not a unix socket."""
    if endpoint.startswith("/"):
        return f"unix://{endpoint}"
    if endpoint.startswith("unix:///"):
        return endpoint
    if endpoint.startswith("unix:/"):
        return f"unix://{endpoint.removeprefix('unix:')}"
    raise InvalidArgument(f"cannot use the endpoint {endpoint!r}: it is not of the form unix:///path/to/socket")


def read_config(path: str) -> dict[str, object]:
    """The known keys that the file sets. Raises FileNotFoundError, and InvalidArgument for a malformed file."""
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read(MAX_CONFIG_BYTES + 1)
    if len(text) > MAX_CONFIG_BYTES:
        raise InvalidArgument(f"cannot use the configuration {path}: it is longer than {MAX_CONFIG_BYTES} bytes")
    values = _read_flat(text)
    if values is None:
        values = _read_yaml(text, path)
    return {key: value for key, value in values.items() if key in FILE_KEYS and value is not None}


def _read_flat(text: str) -> dict[str, object] | None:
    """The common case, lines of `key: value`, without the cost of importing a YAML parser; None if it is more."""
    values: dict[str, object] = {}
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _FLAT.fullmatch(line.rstrip())
        if match is None:
            return None
        quoted = match["double"] if match["double"] is not None else match["single"]
        values[match["key"]] = quoted if quoted is not None else _plain(match["plain"])
    return values


def _plain(text: str | None) -> object:
    if text is None or text in ("~", "null"):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return int(text)
    except ValueError:
        return text


def _read_yaml(text: str, path: str) -> dict[str, object]:
    import yaml  # lazy: 20 ms, and most files do not need it

    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidArgument(f"cannot use the configuration {path}: {' '.join(str(error).split())}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InvalidArgument(f"cannot use the configuration {path}: it is not a list of keys and values")
    return {str(key): value for key, value in document.items()}


def write_config(path: str, values: Mapping[str, object]) -> None:
    """Replace the file by these values, keys in crictl's order."""
    from crio.base.files import write_atomic  # lazy: only `crioctl config` writes

    lines = []
    for key in FILE_KEYS:
        value = values.get(key, FILE_KEYS[key])
        text = str(value).lower() if isinstance(value, bool) else str(value) if value != "" else '""'
        lines.append(f"{key}: {text}\n")
    directory = os.path.dirname(os.path.abspath(path))
    os.makedirs(directory, exist_ok=True)
    write_atomic(os.path.join(directory, os.path.basename(path)), "".join(lines).encode(), mode=0o644)
