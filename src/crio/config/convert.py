"""Values of keys: from TOML, from the text of a flag or environment variable, and back to TOML."""

from __future__ import annotations

from typing import Any

from crio.config.catalog import Entry
from crio.config.key import Unit, find_choice
from crio.config.quantity import MAX_INTEGER, format_duration, format_size, parse_duration, parse_size

_TRUE = ("1", "t", "true")
_FALSE = ("0", "f", "false")
STRINGS = tuple[str, ...]
TABLE = dict[str, str]


def from_toml(entry: Entry, raw: object) -> Any:
    """The key's value. ValueError says, as the rest of a sentence about the key, what is wrong."""
    value = _typed(entry, raw)
    if not entry.key.choices:
        return value
    return tuple(_chosen(entry, item) for item in value) if entry.type == STRINGS else _chosen(entry, value)


def from_text(entry: Entry, text: str) -> Any:
    """The key's value from a flag or variable; lists are separated by commas. ValueError as `from_toml`."""
    if entry.type is bool:
        return _boolean(text)
    if entry.type is int and entry.key.unit is Unit.PLAIN:
        try:
            return from_toml(entry, int(text, 10))
        except ValueError:
            raise ValueError(f'must be a whole number, but is "{text}"') from None
    if entry.type == STRINGS:
        return from_toml(entry, [item.strip() for item in text.split(",") if item.strip()])
    return from_toml(entry, text)


def to_toml(entry: Entry, value: Any) -> str:
    """The value as it is written in the file; a list with more than one element takes several lines."""
    if entry.type is bool:
        return "true" if value else "false"
    if entry.key.unit is Unit.SIZE:
        return quote(format_size(value))
    if entry.key.unit is Unit.DURATION:
        return quote(format_duration(value))
    if entry.type is int:
        return str(value)
    if entry.type == STRINGS:
        if len(value) < 2:
            return "[" + "".join(quote(item) for item in value) + "]"
        return "[\n" + "".join(f"\t{quote(item)},\n" for item in value) + "]"
    if entry.type == TABLE:
        return "{" + ", ".join(f"{quote(name)} = {quote(item)}" for name, item in sorted(value.items())) + "}"
    return quote(value)


def quote(text: str) -> str:
    """A TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in escaped) + '"'


def type_name(entry: Entry) -> str:
    """What kind of value the key takes, for people."""
    if entry.key.unit is not Unit.PLAIN:
        return str(entry.key.unit.value)
    if entry.type == STRINGS:
        return "list of strings"
    if entry.type == TABLE:
        return "table of strings"
    return {str: "string", bool: "true or false", int: "whole number"}[entry.type]


def _typed(entry: Entry, raw: object) -> Any:
    if entry.key.unit is Unit.SIZE:
        if isinstance(raw, str):
            return parse_size(raw) if raw else entry.default
        raise ValueError(f'must be a size such as "12MiB", but is {_kind(raw)}')
    if entry.key.unit is Unit.DURATION:
        return _duration(entry, raw)
    if entry.type is bool:
        if isinstance(raw, bool):
            return raw
        raise ValueError(f"must be true or false, but is {_kind(raw)}")
    if entry.type is int:
        if isinstance(raw, int) and not isinstance(raw, bool) and abs(raw) <= MAX_INTEGER:
            return raw
        raise ValueError(f"must be a whole number, but is {_kind(raw)}")
    if entry.type == STRINGS:
        if isinstance(raw, list) and all(isinstance(item, str) for item in raw):
            return tuple(raw)
        raise ValueError(f"must be a list of strings, but is {_kind(raw)}")
    if entry.type == TABLE:
        if isinstance(raw, dict) and all(isinstance(item, str) for item in raw.values()):
            return dict(raw)
        raise ValueError(f"must be a table of strings, but is {_kind(raw)}")
    if isinstance(raw, str):
        return raw
    raise ValueError(f"must be a string, but is {_kind(raw)}")


def _duration(entry: Entry, raw: object) -> float:
    if isinstance(raw, int) and not isinstance(raw, bool) and abs(raw) <= MAX_INTEGER:
        seconds = raw / 1e9
    elif isinstance(raw, str):
        seconds = parse_duration(raw) if raw else entry.default
    else:
        raise ValueError(f'must be a duration such as "1m30s", but is {_kind(raw)}')
    if seconds < 0:
        raise ValueError("must not be negative")
    return seconds


def _chosen(entry: Entry, item: str) -> str:
    if (choice := find_choice(entry.key.choices, item)) is not None:
        return choice
    names = [f'"{choice}"' for choice in entry.key.choices if choice]
    raise ValueError(f'must be one of {", ".join(names)}, but is "{item}"')


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(f'must be true or false, but is "{text}"')


def _kind(raw: object) -> str:
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, str):
        return f'the string "{raw[:80]}"'
    if isinstance(raw, int | float):
        return f"the number {raw}"
    if isinstance(raw, list):
        if any(not isinstance(item, str) for item in raw):
            return "a list with elements of other types"
        return "a list"
    return "a table" if isinstance(raw, dict) else f"a {type(raw).__name__}"
