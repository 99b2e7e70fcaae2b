"""A configuration as a commented TOML file, in the order and form that people and scripts know from `crio config`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from crio.config.catalog import HANDLERS, WORKLOADS, Entry, tables, value_of
from crio.config.convert import to_toml
from crio.config.model import Config
from crio.config.tables.handler import RuntimeHandler, Workload
from crio.config.unsupported import note

ALWAYS_WRITTEN = frozenset({"crio.runtime.cgroup_manager", "crio.image.pause_image"})
"""Keys which scripts in the field look for at the start of a line, so that they are no comments even as defaults."""

_WIDTH = 96
_HEAD = """\
# Configuration of crio. Keys that are comments have their defaults; the text above each says what it does.
# /etc/crio/crio.conf is read first, then each file below /etc/crio/crio.conf.d in lexical order, then CONTAINER_*
# environment variables, then command-line flags. `crio config check FILE` finds mistakes; SIGHUP (`systemctl reload
# crio`) takes changes over, except for the keys marked "Needs a restart".
"""
_ABOUT_TABLES = {
    HANDLERS: "Runtime handlers: a table for each name that a RuntimeClass, or default_runtime, may have.",
    WORKLOADS: "Workloads: a table for each kind of pod, which an annotation of the pod chooses.",
}


def print_config(config: Config, defaults: Config, *, all_written: bool = False, comments: bool = True) -> str:
    """The file. A key with its default is a comment, unless `all_written`; `comments` adds the explanations."""
    writer = _Writer(config, defaults, all_written=all_written, comments=comments)
    return "".join(writer.lines())


def print_value(entry: Entry, value: Any) -> str:
    """One key as a line (or, for a longer list, some lines) of the file, without a line break at the end."""
    return f"{entry.name} = {to_toml(entry, value)}"


class _Writer:
    def __init__(self, config: Config, defaults: Config, *, all_written: bool, comments: bool) -> None:
        self._config = config
        self._defaults = defaults
        self._all_written = all_written
        self._comments = comments

    def lines(self) -> Iterator[str]:
        if self._comments:
            yield _HEAD
        for table in tables():
            if "*" in table:
                continue
            yield f"\n[{table}]\n"
            for entry in tables()[table].values():
                yield from self._key(entry)
            if table == "crio.runtime":
                yield from self._handlers()
                yield from self._workloads()

    def _key(self, entry: Entry) -> Iterator[str]:
        value = value_of(self._config, entry)
        default = value_of(self._defaults, entry)
        if entry.key.deprecated and value == (entry.default if self._all_written else default):
            return
        written = self._all_written or value != default or entry.dotted in ALWAYS_WRITTEN
        if self._comments:
            yield "\n" + _explanation(entry)
        yield _mark(print_value(entry, value), written)

    def _handlers(self) -> Iterator[str]:
        yield from self._about(HANDLERS)
        fields = tables()[f"{HANDLERS}.*"]
        for name, handler in self._config.runtime.runtimes.items():
            written = self._all_written or handler != self._defaults.runtime.runtimes.get(name)
            yield from self._named(f"{HANDLERS}.{_bare(name)}", fields, _values(handler, fields), written)

    def _workloads(self) -> Iterator[str]:
        yield from self._about(WORKLOADS)
        fields = tables()[f"{WORKLOADS}.*"]
        resources = tables()[f"{WORKLOADS}.*.resources"]
        for name, workload in self._config.runtime.workloads.items():
            table = f"{WORKLOADS}.{_bare(name)}"
            yield from self._named(table, fields, _values(workload, fields), True)
            yield from self._named(f"{table}.resources", resources, _values(workload.resources, resources), True)

    def _about(self, table: str) -> Iterator[str]:
        if not self._comments:
            return
        yield f"\n# {_ABOUT_TABLES[table]}\n"
        for inner in (f"{table}.*", f"{table}.*.resources"):
            for entry in tables().get(inner, {}).values():
                text = f"{entry.name}: {sentences(entry)}"
                yield textwrap.indent(textwrap.fill(text, _WIDTH, subsequent_indent="  "), "#   ") + "\n"

    def _named(
        self, table: str, fields: Mapping[str, Entry], values: Mapping[str, Any], written: bool
    ) -> Iterator[str]:
        yield "\n" + _mark(f"[{table}]", written)
        for name, value in values.items():
            entry = fields[name]
            if value != entry.default or name in ("runtime_path", "runtime_type", "runtime_root"):
                yield _mark(print_value(entry, value), written)


def explain(entry: Entry) -> str:
    """All that is known about a key, as paragraphs."""
    names = [f"--{entry.flag}" if entry.flag else "", entry.env]
    lines = [
        f"{entry.dotted}",
        textwrap.fill(sentences(entry), _WIDTH),
        "",
        f"Type:     {_type(entry)}",
        f"Default:  {to_toml(entry, entry.default)}",
        f"Reload:   {_RELOAD[entry.key.reload.value]}",
    ]
    given = ", ".join(name for name in names if name)
    if given:
        lines.append(f"Also as:  {given}")
    if entry.key.choices:
        lines.append("Values:   " + ", ".join(f'"{choice}"' for choice in entry.key.choices))
    return "\n".join(lines)


_RELOAD = {
    "live": "SIGHUP is enough",
    "watched": "SIGHUP is enough; the file or directory that it names is followed without it",
    "restart": "needs a restart of the daemon",
}


def sentences(entry: Entry) -> str:
    """What the key does, what is to be used in its place, and whether it does anything at all in this release."""
    text = entry.key.text
    if entry.key.deprecated:
        text += f" Deprecated: {entry.key.deprecated}."
    if remark := note(entry.dotted):
        text += f" It has {remark}."
    return text


def _explanation(entry: Entry) -> str:
    text = sentences(entry)
    if entry.key.choices:
        text += " Values: " + ", ".join(f'"{choice}"' for choice in entry.key.choices if choice) + "."
    if entry.key.reload.value == "restart":
        text += " Needs a restart."
    return textwrap.indent(textwrap.fill(text, _WIDTH), "# ") + "\n"


def _type(entry: Entry) -> str:
    from crio.config.convert import type_name

    return type_name(entry)


def _mark(text: str, written: bool) -> str:
    return (text if written else textwrap.indent(text, "# ")) + "\n"


def _values(struct: RuntimeHandler | Workload | Any, fields: Mapping[str, Entry]) -> Mapping[str, Any]:
    return {name: getattr(struct, name) for name in fields}


def _bare(name: str) -> str:
    return name if all(c.isascii() and (c.isalnum() or c in "_-") for c in name) else f'"{name}"'
