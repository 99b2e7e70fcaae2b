"""What can go wrong when the OCI runtime is asked for something, and how its own words become one sentence."""

from __future__ import annotations

import json
import re

from crio.base.errors import Code, CrioError
from crio.base.regex import regex

_LOGFMT = regex(r'\bmsg="((?:[^"\\]|\\.)*)"')
_LOGFMT_LEVEL = regex(r"\blevel=(\w+)")
_CLOCK = regex(r"^\d{4}-\d\d-\d\dT[\d:.]+Z?(?:[+-][\d:]+)?:? +")
_MAX = 1024


class RuntimeFailed(CrioError):
    """An OCI runtime command ended with an error. `reason` is the runtime's own text in one line."""

    code = Code.INTERNAL

    def __init__(self, what: str, runtime: str, reason: str) -> None:
        super().__init__(f"cannot {what}: {runtime}: {reason}")
        self.reason = reason


class RuntimeTimeout(CrioError):
    """An OCI runtime command was killed because it took too long."""

    code = Code.DEADLINE_EXCEEDED
    temporary = True


class MonitorUnavailable(CrioError):
    """The monitor or the zygote does not answer, or is gone."""

    code = Code.UNAVAILABLE
    temporary = True


class MonitorGone(MonitorUnavailable):
    """The other side has ended, rather than being slow."""


def sentence(stderr: str) -> str:
    """What a runtime wrote to its standard error, as one line without time stamps and prefixes.

    runc and youki write logfmt or plain lines, all of them JSON with --log-format json, crun plain lines that may begin
    with a time. The last error is what counts; earlier lines are warnings or its causes. At most 1 KiB.
    """
    best = ""
    for line in stderr[-16 * 1024 :].splitlines():
        line = line.strip()
        if not line:
            continue
        text, is_error = _message(line)
        if text and (is_error or not best):
            best = text
    best = " ".join(best.split())
    return best if len(best) <= _MAX else best[:_MAX] + "…"


def _message(line: str) -> tuple[str, bool]:
    if line.startswith("{"):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if isinstance(entry, dict) and isinstance(entry.get("msg"), str):
            return entry["msg"], entry.get("level") in ("error", "fatal", "panic")
    if match := _LOGFMT.search(line):
        level = _LOGFMT_LEVEL.search(line)
        text = re.sub(r"\\(.)", r"\1", match[1])
        return text, level is None or level[1] in ("error", "fatal", "panic")
    return _CLOCK.sub("", line), True
