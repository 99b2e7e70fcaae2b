"""Every key of crio.conf as one flat list, made from the structs in `tables`: what checks, prints and manuals go by."""

from __future__ import annotations

import functools
import typing
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import NODEFAULT, Struct, structs

from crio.config.key import DERIVED, Key
from crio.config.model import Config
from crio.config.tables.handler import RuntimeHandler, Workload

HANDLERS = "crio.runtime.runtimes"
WORKLOADS = "crio.runtime.workloads"


class Entry(msgspec.Struct, frozen=True):
    """One key: where it stands, and what it is."""

    table: str
    """Dotted name of its table, such as "crio.runtime"; "*" stands for the name of a handler or workload."""
    name: str
    type: Any
    """str, bool, int, float, tuple[str, ...] or dict[str, str]."""
    default: Any
    key: Key

    @property
    def dotted(self) -> str:
        return f"{self.table}.{self.name}"

    @property
    def flag(self) -> str:
        """Name of the command-line flag without dashes, or empty."""
        if self.key.flag != DERIVED:
            return self.key.flag
        return "" if "*" in self.table else self.name.replace("_", "-")

    @property
    def env(self) -> str:
        """Name of the environment variable, or empty."""
        if self.key.env != DERIVED:
            return self.key.env
        return "" if "*" in self.table else f"CONTAINER_{self.name.upper()}"


@functools.cache
def entries() -> Mapping[str, Entry]:
    """All keys by their dotted names, in the order of the file."""
    found: dict[str, Entry] = {}
    for table in structs.fields(Config):
        dotted = "crio" if table.name == "crio" else f"crio.{table.name}"
        _collect(dotted, type(table.default), found)
    return found


@functools.cache
def tables() -> Mapping[str, Mapping[str, Entry]]:
    """The keys of each table, by the table's dotted name."""
    found: dict[str, dict[str, Entry]] = {}
    for entry in entries().values():
        found.setdefault(entry.table, {})[entry.name] = entry
    return found


def value_of(config: Config, entry: Entry) -> Any:
    """The value of a key outside of handler and workload tables."""
    value: Any = config
    if entry.table == "crio":
        value = config.crio
    else:
        for part in entry.table.split(".")[1:]:
            value = getattr(value, part)
    return getattr(value, entry.name)


def _collect(table: str, struct: type[Struct], found: dict[str, Entry]) -> None:
    hints = typing.get_type_hints(struct, include_extras=True)
    nested: list[tuple[str, type[Struct]]] = []
    for field in structs.fields(struct):
        hint = hints[field.name]
        default = field.default_factory() if field.default is NODEFAULT else field.default
        if typing.get_origin(hint) is typing.Annotated:
            plain, key = typing.get_args(hint)
            entry = Entry(table, field.name, plain, default, key)
            found[entry.dotted] = entry
        elif field.name == "runtimes":
            nested.append((f"{table}.{field.name}.*", RuntimeHandler))
        elif field.name == "workloads":
            nested.append((f"{table}.{field.name}.*", Workload))
        else:
            nested.append((f"{table}.{field.name}", hint))
    for name, inner in nested:
        _collect(name, inner, found)
