"""Line numbers in TOML files, which the standard library's reader does not give.

A scan by lines that knows tables, keys, and values over several lines; it is right for files which `tomllib` accepts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from crio.base.regex import regex

_HEADER = regex(r"\s*\[\[?\s*(.+?)\s*\]?\]\s*(?:#.*)?$")
_PART = regex(r"""\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*""")
_MULTILINE = regex(r'"""|\'\'\'')


def lines_of_keys(text: str) -> Mapping[tuple[str, ...], int]:
    """The first line (from 1) in which each table or key stands, by its path."""
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in _outside_of_values(text):
        header = _HEADER.match(line)
        if header is not None and line.lstrip().startswith("["):
            table = _path(header[1])[0]
            found.setdefault(table, number)
            continue
        path, rest = _path(line)
        if path and rest.startswith("="):
            for length in range(1, len(path) + 1):
                found.setdefault(table + path[:length], number)
    return found


def _path(text: str) -> tuple[tuple[str, ...], str]:
    """The dotted key at the start of `text`, and what follows it."""
    parts: list[str] = []
    while (match := _PART.match(text)) is not None:
        parts.append(next(group for group in match.groups() if group is not None))
        text = text[match.end() :]
        if not text.startswith("."):
            break
        text = text[1:]
    return tuple(parts), text


def _outside_of_values(text: str) -> Iterator[tuple[int, str]]:
    """Lines that start a table or key: not those inside of an array or of a string over several lines."""
    depth = 0
    quotes = ""
    for number, line in enumerate(text.splitlines(), 1):
        inside = bool(depth or quotes)
        if not inside:
            yield number, line
            if _HEADER.match(line) and line.lstrip().startswith("["):
                continue
        position = 0
        while position < len(line):
            if quotes:
                end = line.find(quotes, position)
                if end < 0:
                    break
                position, quotes = end + 3, ""
                continue
            char = line[position]
            if char == "#":
                break
            if (match := _MULTILINE.match(line, position)) is not None:
                quotes = match[0]
                position += 3
                continue
            if char in "\"'":
                position = _end_of_string(line, position)
                continue
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(char, 0)
            position += 1


def _end_of_string(line: str, start: int) -> int:
    quote, position = line[start], start + 1
    while position < len(line) and line[position] != quote:
        position += 2 if quote == '"' and line[position] == "\\" else 1
    return position + 1
