"""What the files, the environment and the flags set, with the place of each value; not yet checked as a whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crio.base.errors import ResourceExhausted
from crio.base.files import read_bounded
from crio.config.catalog import HANDLERS, WORKLOADS, Entry, entries, tables
from crio.config.convert import STRINGS, from_text, from_toml
from crio.config.position import lines_of_keys
from crio.config.problem import Problem, Source
from crio.config.retired import ELSEWHERE, REMOVED

MAX_FILE = 1 << 20

INHERITED_IF_EMPTY = ("crio.root", "crio.runroot", "crio.storage_driver")
"""An empty value of these in a file leaves what was said before it."""
ACCUMULATED = "crio.storage_option"
"""The one list that each file adds to."""


class Settings:
    """Values that were set, by dotted name; later ones replace earlier ones."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.sources: dict[str, Source] = {}
        self.handlers: dict[str, dict[str, Any]] = {}
        self.workloads: dict[str, dict[str, Any]] = {}
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []
        self.files: list[str] = []

    def add_directory(self, path: str) -> None:
        """All files below a drop-in directory, in lexical order of their paths; a missing directory is empty."""
        try:
            names = sorted(os.listdir(path))
        except FileNotFoundError:
            return
        except OSError as error:
            self.errors.append(Problem(Source(path), f"cannot be read: {error.strerror}"))
            return
        for name in names:
            inner = os.path.join(path, name)
            if os.path.isdir(inner) and not os.path.islink(inner):
                self.add_directory(inner)
            else:
                self.add_file(inner)

    def add_file(self, path: str) -> None:
        """One file. It must exist."""
        try:
            text = read_bounded(path, MAX_FILE).decode()
        except OSError as error:
            self.errors.append(Problem(Source(path), f"cannot be read: {error.strerror}"))
        except ResourceExhausted:
            self.errors.append(Problem(Source(path), f"is longer than {MAX_FILE} bytes"))
        except UnicodeDecodeError:
            self.errors.append(Problem(Source(path), "is not UTF-8 text"))
        else:
            self.files.append(path)
            self.add_text(text, path)

    def add_text(self, text: str, name: str) -> None:
        """The content of a file that problems call `name`."""
        import tomllib

        try:
            content = tomllib.loads(text)
        except ValueError as error:  # TOMLDecodeError is one, and int() raises others for endless numbers
            self.errors.append(_syntax_problem(name, str(error)))
        except RecursionError:
            self.errors.append(Problem(Source(name), "is nested too deeply"))
        else:
            _FileReader(self, name, text).read(content)

    def add_environment(self, environ: Mapping[str, str]) -> None:
        """Variables; an empty one counts as not set."""
        for entry in entries().values():
            for name in (entry.env, *_OLD_ENV.get(entry.dotted, ())):
                if name and environ.get(name):
                    self.set_text(entry, environ[name], Source(f"environment variable {name}"))
                    break
        if environ.get("CONTAINER_RUNTIMES"):
            self.add_runtimes_flag(
                environ["CONTAINER_RUNTIMES"].split(","), Source("environment variable CONTAINER_RUNTIMES")
            )

    def add_flags(self, flags: Mapping[str, str | bool | Sequence[str]]) -> None:
        """Flags by name without dashes. A repeated one is a list."""
        by_flag = {entry.flag: entry for entry in entries().values() if entry.flag}
        for name, value in flags.items():
            source = Source(f"flag --{name}")
            texts = [value] if isinstance(value, str) else [str(value).lower()] if isinstance(value, bool) else value
            if name == "runtimes":
                self.add_runtimes_flag([part for text in texts for part in text.split(",")], source)
            elif name in by_flag:
                entry = by_flag[name]
                self.set_text(entry, ",".join(texts) if entry.type == STRINGS else texts[-1], source)

    def set_text(self, entry: Entry, text: str, source: Source) -> None:
        self.store(entry, source, lambda: from_text(entry, text))

    def store(self, entry: Entry, source: Source, convert: Callable[[], Any]) -> None:
        """Take one value over, or note why not."""
        try:
            value = convert()
        except ValueError as error:
            self.errors.append(Problem(source, f"{entry.name} {error}"))
            return
        if entry.key.deprecated:
            self.warnings.append(Problem(source, f"{entry.name} is deprecated; {entry.key.deprecated}"))
        self.values[entry.dotted] = value
        self.sources[entry.dotted] = source

    def add_runtimes_flag(self, texts: Sequence[str], source: Source) -> None:
        """name:path:root[:type[:privileged_without_host_devices[:config_path[:container_min_memory]]]]"""
        names = ("runtime_path", "runtime_root", "runtime_type", "", "runtime_config_path", "container_min_memory")
        fields = tables()[f"{HANDLERS}.*"]
        for text in texts:
            name, *parts = text.split(":")
            if not name or not 2 <= len(parts) <= 6:
                self.errors.append(Problem(source, f'must have the form name:path:root[:type[:...]], but is "{text}"'))
                continue
            handler: dict[str, Any] = {}
            try:
                for field, part in zip(names, parts, strict=False):
                    if field and part:
                        handler[field] = from_toml(fields[field], part)
            except ValueError as error:
                self.errors.append(Problem(source, f'has a part that {error} in "{text}"'))
                continue
            handler["privileged_without_host_devices"] = len(parts) > 3 and parts[3] == "true"
            self.handlers[name] = handler
            self.sources[f"{HANDLERS}.{name}"] = source


class _FileReader:
    """Walks one parsed file."""

    def __init__(self, settings: Settings, path: str, text: str) -> None:
        self._settings = settings
        self._path = path
        self._text = text
        self._lines: Mapping[tuple[str, ...], int] | None = None

    def read(self, content: Mapping[str, Any]) -> None:
        for name, value in content.items():
            if name == "crio" and isinstance(value, dict):
                self._table(("crio",), "crio", value)
            else:
                self._unknown((name,), "crio", name)

    def _source(self, path: tuple[str, ...]) -> Source:
        if self._lines is None:
            self._lines = lines_of_keys(self._text)
        return Source(self._path, self._lines.get(path, 0))

    def _table(self, path: tuple[str, ...], table: str, content: Mapping[str, Any]) -> None:
        """A table whose keys are all known beforehand."""
        for name, value in content.items():
            inner = (*path, name)
            dotted = f"{table}.{name}"
            if dotted in (HANDLERS, WORKLOADS):
                self._named_tables(inner, dotted, value)
            elif dotted in tables():
                if isinstance(value, dict):
                    self._table(inner, dotted, value)
                else:
                    self._error(inner, f"{name} must be a table")
            else:
                self._key(inner, table, name, value)

    def _key(self, path: tuple[str, ...], table: str, name: str, value: Any) -> None:
        dotted = f"{table}.{name}"
        entry = entries().get(ELSEWHERE.get(dotted, dotted))
        if entry is None:
            self._unknown(path, table, name)
            return
        if value == "" and dotted in INHERITED_IF_EMPTY:
            return
        settings = self._settings
        before = settings.values.get(ACCUMULATED, ()) if dotted == ACCUMULATED else ()
        settings.store(entry, self._source(path), lambda: from_toml(entry, value))
        if before:
            options = [*before, *settings.values[ACCUMULATED]]
            settings.values[ACCUMULATED] = tuple(dict.fromkeys(reversed(options)))[::-1]

    def _named_tables(self, path: tuple[str, ...], dotted: str, content: Any) -> None:
        """Handlers or workloads. A table of a later file replaces that of an earlier one with the same name."""
        if not isinstance(content, dict):
            self._error(path, f"{path[-1]} must be a table")
            return
        for name, table in content.items():
            inner = (*path, name)
            if not isinstance(table, dict):
                self._error(inner, f"{'.'.join(inner)} must be a table")
                continue
            values = self._fields(inner, f"{dotted}.*", table)
            target = self._settings.handlers if dotted == HANDLERS else self._settings.workloads
            target[name] = values
            self._settings.sources[f"{dotted}.{name}"] = self._source(inner)

    def _fields(self, path: tuple[str, ...], table: str, content: Mapping[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, value in content.items():
            inner = (*path, name)
            if f"{table}.{name}" in tables():
                if isinstance(value, dict):
                    values[name] = self._fields(inner, f"{table}.{name}", value)
                else:
                    self._error(inner, f"{name} must be a table")
                continue
            entry = entries().get(f"{table}.{name}")
            if entry is None:
                self._unknown(inner, table, name)
                continue
            try:
                values[name] = from_toml(entry, value)
            except ValueError as error:
                self._error(inner, f"{name} {error}")
                continue
            if entry.key.deprecated:
                self._warning(inner, f"{name} is deprecated; {entry.key.deprecated}")
        return values

    def _unknown(self, path: tuple[str, ...], table: str, name: str) -> None:
        dotted = f"{table}.{name}" if path[0] == "crio" else name
        if dotted in REMOVED:
            self._warning(path, f"{name} has no effect any more; {REMOVED[dotted]}")
            return
        where = f" in [{'.'.join(path[:-1])}]" if len(path) > 1 else ""
        text = f"unknown key {name}{where}{_suggestion(table, name)}"
        self._settings.warnings.append(Problem(self._source(path), text, unknown_key=True))

    def _warning(self, path: tuple[str, ...], text: str) -> None:
        self._settings.warnings.append(Problem(self._source(path), text))

    def _error(self, path: tuple[str, ...], text: str) -> None:
        self._settings.errors.append(Problem(self._source(path), text))


_OLD_ENV = {"crio.stats.included_pod_metrics": ("CONTAINER_INCLUDED_POD_METRCIS",)}
"""Names that older releases had by mistake."""


def _suggestion(table: str, name: str) -> str:
    import difflib

    homes = [entry.table for entry in entries().values() if entry.name == name]
    if homes:
        return f"; it belongs in [{homes[0].replace('*', 'NAME')}]"
    known = [
        *tables().get(table, ()),
        *(inner.rpartition(".")[2] for inner in tables() if inner.startswith(f"{table}.")),
    ]
    near = difflib.get_close_matches(name, known, 1) or difflib.get_close_matches(
        name, [entry.name for entry in entries().values()], 1
    )
    return f"; the nearest known key is {near[0]}" if near else ""


def _syntax_problem(path: str, text: str) -> Problem:
    """tomllib puts the place at the end: "... (at line 3, column 5)"."""
    import re

    match = re.search(r"\(at line (\d+), column \d+\)$", text)
    return Problem(Source(path, int(match[1]) if match else 0), f"is not TOML: {text}")
