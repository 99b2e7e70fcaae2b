"""Draws the spans of a trace as bars under each other: what happened when, as part of what, and what took long."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Span = Mapping[str, Any]
"""A span as /debug/traces tells it."""

NARROW, WIDE = 20, 120
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_SHOWN = ("pod_name", "namespace", "container_name", "image")


class _Row(NamedTuple):
    span: Span
    depth: int


def draw(trace: Sequence[Span], width: int) -> Iterator[str]:
    """The lines for one trace; `width` is that of the terminal in columns."""
    if not trace:
        return
    rows = list(_rows(trace))
    start = min(span["start_ns"] for span in trace)
    total = max(max(span["end_ns"] for span in trace) - start, 1)
    names = [f"{'  ' * row.depth}{_short(str(row.span['name']), row.depth > 0)}" for row in rows]
    name_width = min(max(map(len, names)), 48)
    bar_width = min(max(width - name_width - 14, NARROW), WIDE)
    yield _title(rows[0].span, start, total)
    for row, name in zip(rows, names, strict=True):
        begin = row.span["start_ns"] - start
        length = max(row.span["end_ns"] - row.span["start_ns"], 0)
        bar = _bar(begin / total, length / total, bar_width)
        error = str(row.span.get("error") or "")
        failed = f"  ✗ {' '.join(error.split())[:200]}" if error else ""
        yield f"{name[:name_width]:<{name_width}} {_milliseconds(length):>10} {bar}{failed}".rstrip()


def _rows(trace: Sequence[Span]) -> Iterator[_Row]:
    """Each span after the one that it is part of: by its parent, and among the parts of one by what it lies within."""
    ordered = sorted(trace, key=lambda span: (span["start_ns"], -span["end_ns"]))
    known = {span["id"] for span in ordered}
    parts: dict[str, list[Span]] = {}
    for span in ordered:
        parts.setdefault(span["parent"] if span["parent"] in known else "", []).append(span)

    def below(parent: str, depth: int) -> Iterator[_Row]:
        around: list[Span] = []
        for span in parts.get(parent, ()):
            while around and span["end_ns"] > around[-1]["end_ns"]:
                around.pop()
            yield _Row(span, depth + len(around))
            yield from below(span["id"], depth + len(around) + 1)
            around.append(span)

    yield from below("", 0)


def _title(first: Span, start: int, total: int) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(start / 1e9))
    attributes = first.get("attributes") or {}
    about = " ".join(str(attributes[name]) for name in _SHOWN if attributes.get(name))
    return f"{when}  {_short(str(first['name']))}  {about}  {_milliseconds(total)}".replace("    ", "  ")


def _bar(begin: float, length: float, width: int) -> str:
    """A bar with eighths of a column; what is too short for one is shown as the thinnest."""
    eighths = max(round(length * width * 8), 1)
    column = min(int(begin * width), width - 1)
    full, rest = divmod(eighths, 8)
    return " " * column + "█" * min(full, width - column) + (_EIGHTHS[rest] if rest and column + full < width else "")


def _short(name: str, is_part: bool = False) -> str:
    """An RPC without its service, and a stage without its job, if that stands above it."""
    if name.startswith("/"):
        return name.rpartition("/")[2]
    return name.partition(": ")[2] or name if is_part else name


def _milliseconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.1f} ms" if nanoseconds < 10_000_000_000 else f"{nanoseconds / 1e9:.1f} s"
