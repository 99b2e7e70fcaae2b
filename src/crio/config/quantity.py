"""Sizes and durations as people write them in crio.conf: "12MiB", "1m30s"."""

from __future__ import annotations

import re

from crio.base.regex import regex

_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_SIZE = regex(r"\s*(\d+(?:\.\d+)?)\s*([kmgtp]?)(?:i?b)?\s*", re.IGNORECASE)
MAX_INTEGER = 2**63 - 1
"""What Go's types hold: of a number, of bytes of a size, of nanoseconds of a duration."""
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = regex(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def parse_size(text: str) -> int:
    """Bytes. Units are powers of 1024 with or without the "i", in any case. ValueError if it is no size."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f'must be a size such as "12MiB", but is "{text}"')
    size = float(match[1]) * 1024 ** _UNITS[match[2].lower()]
    if size > MAX_INTEGER:
        raise ValueError(f'is too large: "{text[:80]}"')
    return int(size)


def format_size(size: int) -> str:
    """The shortest text from which `parse_size` makes the same number."""
    for unit, power in (("GiB", 3), ("MiB", 2), ("KiB", 1)):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{unit}"
    return f"{size}B"


def parse_duration(text: str) -> float:
    """Seconds, from a sequence of numbers with units ("1h30m", "250ms"). ValueError if it is no duration."""
    if text == "0":
        return 0.0
    seconds, position = 0.0, 0
    for match in _DURATION.finditer(text):
        if match.start() != position:
            break
        seconds += float(match[1]) * _SECONDS[match[2]]
        position = match.end()
    if position != len(text) or not text:
        raise ValueError(f'must be a duration such as "1m30s", but is "{text}"')
    if seconds > MAX_INTEGER / 1e9:
        raise ValueError(f'is too long: "{text[:80]}"')
    return seconds


def format_duration(seconds: float) -> str:
    """As `parse_duration` reads it, in the form that Go prints: "4h0m0s", "1.5s", "200ms"."""
    if seconds == 0:
        return "0s"
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:g}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
