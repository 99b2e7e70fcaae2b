"""The CNI networks of a directory: which there are, in which order, and which files are broken and why."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from crio.base.errors import CrioError, InvalidArgument
from crio.base.files import read_bounded
from crio.base.jsontext import UNREADABLE
from crio.spec.cni import MAX_CONFIG, NetworkConfig, parse_network

SUFFIXES = (".conf", ".conflist", ".json")
MAX_FILES = 1000
"""Files of a directory that are looked at."""


class ConfiguredNetwork(msgspec.Struct, frozen=True):
    path: str
    config: NetworkConfig


class Networks(msgspec.Struct):
    """What was found: networks by name in the order of their files, and by file name why one was skipped."""

    by_name: dict[str, ConfiguredNetwork] = msgspec.field(default_factory=dict)
    broken: dict[str, str] = msgspec.field(default_factory=dict)

    def choose(self, name: str) -> ConfiguredNetwork | None:
        """The network with this name, or for "" the first one."""
        if name:
            return self.by_name.get(name)
        return next(iter(self.by_name.values()), None)


def load_networks(directory: str) -> Networks:
    """Read all configuration files of a directory; one that does not exist has none. A file never makes it fail."""
    found = Networks()
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return found
    except OSError as error:
        found.broken[directory] = f"cannot read the directory: {error.strerror}"
        return found
    for name in [name for name in names if name.endswith(SUFFIXES)][:MAX_FILES]:
        path = os.path.join(directory, name)
        try:
            if os.path.isdir(path):
                continue
            config = _load_file(directory, name, path)
        except FileNotFoundError:
            continue
        except OSError as error:
            found.broken[name] = f"cannot read it: {error.strerror}"
        except CrioError as error:
            found.broken[name] = error.message
        else:
            found.by_name.setdefault(config.name, ConfiguredNetwork(path, config))
    return found


def _load_file(directory: str, name: str, path: str) -> NetworkConfig:
    data = read_bounded(path, MAX_CONFIG)
    if not data.strip():
        raise InvalidArgument("it is empty")
    extra = _plugins_beside(directory, data)
    if extra:
        try:
            document = msgspec.json.decode(data, type=dict[str, Any])
            own = msgspec.convert(document.get("plugins") or [], list[Any])
        except UNREADABLE as error:
            raise InvalidArgument(f"cannot parse it: {error}") from None
        data = msgspec.json.encode({**document, "plugins": [*own, *extra]})
    return parse_network(data, default_name=name)


class _Probe(msgspec.Struct):
    name: str = ""
    type: str | None = None
    only_inlined: bool | str = msgspec.field(name="loadOnlyInlinedPlugins", default=False)


def _plugins_beside(directory: str, data: bytes) -> list[object]:
    """Plug-ins of a list in files of their own, DIRECTORY/NETWORK/*.conf (since version 1.1 of the specification)."""
    try:
        probe = msgspec.json.decode(data, type=_Probe)
    except UNREADABLE:
        return []
    if probe.type is not None or probe.only_inlined in (True, "true") or not probe.name or "/" in probe.name:
        return []
    below = os.path.join(directory, probe.name)
    if probe.name in (".", "..") or not os.path.isdir(below):
        return []
    found: list[object] = []
    for name in sorted(os.listdir(below))[:MAX_FILES]:
        if name.endswith(".conf"):
            try:
                found.append(msgspec.json.decode(read_bounded(os.path.join(below, name), MAX_CONFIG)))
            except UNREADABLE as error:
                raise InvalidArgument(f"cannot parse its plug-in {probe.name}/{name}: {error}") from None
    return found
