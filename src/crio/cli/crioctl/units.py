"""Sizes, ages and durations in the words that crictl's users and scripts know."""

from __future__ import annotations

import re

_SIZES = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def human_size(count: float, precision: int = 4) -> str:
    """Decimal size with `precision` digits: 1234567 is `1.235MB`."""
    unit = 0
    while count >= 1000 and unit < len(_SIZES) - 1:
        count /= 1000
        unit += 1
    return f"{count:.{precision}g}{_SIZES[unit]}"


def human_duration(seconds: float) -> str:
    """An age in one unit: `5 seconds`, `About an hour`, `3 weeks`."""
    whole = int(seconds)
    minutes, hours = whole // 60, int(seconds / 3600 + 0.5)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{int(seconds / 3600) // 24 // 365} years"


def parse_duration(text: str) -> float:
    """Seconds from `90`, `1.5`, `2s`, `1m30s`, `500ms`. Raises ValueError."""
    body = text.removeprefix("-")
    sign = -1.0 if body != text else 1.0
    try:
        return sign * float(body) if re.fullmatch(r"\d+(\.\d*)?|\.\d+", body) else sign * _go_duration(body)
    except ValueError:
        raise ValueError(f"{text!r} is not a duration such as 2s or 1m30s") from None


def _go_duration(text: str) -> float:
    total, position = 0.0, 0
    for match in _DURATION.finditer(text):
        if match.start() != position:
            raise ValueError
        total += float(match[1]) * _SECONDS[match[2]]
        position = match.end()
    if position != len(text) or not text:
        raise ValueError
    return total


def truncated(identifier: str, prefix: str = "") -> str:
    """The first 13 characters of an id, without its algorithm's prefix: what crictl's tables show."""
    return identifier.removeprefix(prefix)[:13]
