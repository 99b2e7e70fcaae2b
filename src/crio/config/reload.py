"""What changes between two configurations, and what of it can be taken over by a running daemon.

A reload is: load and check everything (an error leaves the old configuration in place), compute the plan, swap the
configuration as one value, report. Nothing here touches the daemon.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct, structs

from crio.config.catalog import HANDLERS, WORKLOADS, entries, value_of
from crio.config.convert import to_toml
from crio.config.key import RESTART
from crio.config.model import Config


class Change(msgspec.Struct, frozen=True):
    """One key, handler or workload that differs. Texts are TOML values; empty: it is not there."""

    dotted: str
    before: str
    after: str
    needs_restart: bool = False

    def __str__(self) -> str:
        if not self.before:
            return f"{self.dotted}: added"
        if not self.after:
            return f"{self.dotted}: removed"
        return f"{self.dotted}: {_one_line(self.before)} -> {_one_line(self.after)}"


class Plan(msgspec.Struct, frozen=True):
    """How a running daemon goes from one configuration to another."""

    config: Config
    """What is in force after the swap: the new values of live keys, the old ones of keys that need a restart."""
    live: tuple[Change, ...]
    pending: tuple[Change, ...]
    """Changes which wait for a restart."""

    def report(self) -> Iterator[str]:
        """Lines for the log."""
        if not self.live and not self.pending:
            yield "configuration reloaded; nothing changed"
        for change in self.live:
            yield f"configuration reloaded: {change}"
        for change in self.pending:
            yield f"configuration: needs a restart: {change}"


def plan_reload(running: Config, loaded: Config) -> Plan:
    """Compare the running configuration with a freshly loaded and checked one."""
    if running.runtime.cgroup_manager != loaded.runtime.cgroup_manager:
        loaded = _with_monitors_of(running, loaded)
    changes = tuple(diff(running, loaded))
    pending = tuple(change for change in changes if change.needs_restart)
    config = loaded
    for change in pending:
        config = _with_value(config, change.dotted, value_of(running, entries()[change.dotted]))
    return Plan(config, tuple(change for change in changes if not change.needs_restart), pending)


def diff(before: Config, after: Config) -> Iterator[Change]:
    """All differences, in the order of the file."""
    for entry in entries().values():
        if "*" in entry.table:
            continue
        old, new = value_of(before, entry), value_of(after, entry)
        if old != new:
            yield Change(entry.dotted, to_toml(entry, old), to_toml(entry, new), entry.key.reload is RESTART)
    yield from _diff_tables(HANDLERS, before.runtime.runtimes, after.runtime.runtimes)
    yield from _diff_tables(WORKLOADS, before.runtime.workloads, after.runtime.workloads)


def _diff_tables(table: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name in sorted({*before, *after}):
        dotted = f"{table}.{name}"
        if name not in before:
            yield Change(dotted, "", "table")
        elif name not in after:
            yield Change(dotted, "table", "")
        else:
            yield from _diff_fields(dotted, f"{table}.*", before[name], after[name])


def _diff_fields(dotted: str, table: str, before: Struct, after: Struct) -> Iterator[Change]:
    for field in structs.fields(type(before)):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if old == new:
            continue
        if isinstance(old, Struct):
            yield from _diff_fields(f"{dotted}.{field.name}", f"{table}.{field.name}", old, new)
        else:
            entry = entries()[f"{table}.{field.name}"]
            yield Change(f"{dotted}.{field.name}", to_toml(entry, old), to_toml(entry, new))


def _with_monitors_of(running: Config, loaded: Config) -> Config:
    """`loaded` with monitors in the control groups of `running`: another manager's wait for a restart with it."""
    kept = {name: handler.monitor_cgroup for name, handler in running.runtime.runtimes.items()}
    other = running.runtime.runtimes.get(running.runtime.default_runtime)
    handlers = {
        name: structs.replace(handler, monitor_cgroup=kept.get(name, other.monitor_cgroup if other else ""))
        for name, handler in loaded.runtime.runtimes.items()
    }
    return structs.replace(loaded, runtime=structs.replace(loaded.runtime, runtimes=handlers))


def _with_value(config: Config, dotted: str, value: Any) -> Config:
    """`config` with one key replaced."""
    _, *path = dotted.split(".")
    changed: Config = _replaced(config, path if len(path) > 1 else ["crio", *path], value)
    return changed


def _replaced(struct: Any, path: list[str], value: Any) -> Any:
    name, *rest = path
    new = _replaced(getattr(struct, name), rest, value) if rest else value
    return structs.replace(struct, **{name: new})


def _one_line(text: str) -> str:
    return " ".join(text.split())
