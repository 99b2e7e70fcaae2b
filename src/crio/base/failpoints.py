"""Named places where a test can make the program crash, fail or wait (after FreeBSD's fail(9)).

Inert unless CRIO_FAILPOINTS is set when the process starts, for instance to
`storage.commit.before_rename=kill;cni.add.after=error`. Actions: `kill` (SIGKILL of this process), `error` (raises
Internal), `sleep(SECONDS)`; each may be followed by `*N` to fire only the first N times.
"""

from __future__ import annotations

import os
import signal
import time

from crio.base.regex import regex

_ACTION = regex(r"(?P<name>[\w.]+)=(?P<verb>kill|error|sleep)(\((?P<argument>[\d.]+)\))?(\*(?P<count>\d+))?")


class _Point:
    def __init__(self, verb: str, argument: float, count: int) -> None:
        self.verb, self.argument, self.left = verb, argument, count


def _parse(text: str) -> dict[str, _Point]:
    points: dict[str, _Point] = {}
    for item in filter(None, (part.strip() for part in text.split(";"))):
        match = _ACTION.fullmatch(item)
        if match is None:
            raise ValueError(f"cannot use failpoint {item!r}: the form is name=kill|error|sleep(seconds)[*count]")
        points[match["name"]] = _Point(match["verb"], float(match["argument"] or 0), int(match["count"] or -1))
    return points


_points: dict[str, _Point] | None = None


def configure(text: str) -> None:
    """Set the active failpoints of this process; "" switches all off. Raises ValueError on a malformed text."""
    global _points
    _points = _parse(text)


def failpoint(name: str) -> None:
    """Do what the test asked for at this place, normally nothing."""
    global _points
    if _points is None:
        _points = _parse(os.environ.get("CRIO_FAILPOINTS", ""))
    if not _points:
        return
    point = _points.get(name)
    if point is None or point.left == 0:
        return
    point.left -= 1
    if point.verb == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif point.verb == "sleep":
        time.sleep(point.argument)
    else:
        from crio.base.errors import Internal

        raise Internal(f"cannot go on: failpoint {name}")
