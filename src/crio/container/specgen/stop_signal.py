"""The signal that stops a container: the request's, else the image's, else TERM."""

from __future__ import annotations

import signal
from functools import lru_cache

import msgspec

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.regex import regex

_RTMIN, _RTMAX = 34, 64
_OTHER_NAMES = {"CLD": "CHLD", "IOT": "ABRT", "POLL": "IO"}
# Not in every Python's enumeration.
_EXTRA = {"STKFLT": 16}
_REAL_TIME = regex(r"RT(MIN|MAX)(?:([+-]|PLUS|MINUS)(\d{1,2}))?")


class StopSignal(msgspec.Struct, frozen=True):
    """`name` as kill(1) -l spells it with SIG in front ("SIGRTMIN+3"), `value` the CRI's."""

    number: int
    name: str
    value: pb.Signal.ValueType


def parse(text: str) -> int:
    """The number of a signal written as "SIGTERM", "term", "15", "SIGRTMIN+3" or "SIGRTMINPLUS3".

    0 if it is none: images carry all kinds of text there.
    """
    name = text.strip().upper()
    if name.isascii() and name.isdecimal():
        number = int(name[:4])
        return number if 1 <= number <= _RTMAX else 0
    name = name.removeprefix("SIG")
    match = _REAL_TIME.fullmatch(name)
    if match is not None:
        base, sign, offset = match[1], match[2] or "+", int(match[3] or 0)
        number = (_RTMIN if base == "MIN" else _RTMAX) + (offset if sign in ("+", "PLUS") else -offset)
        return number if _RTMIN <= number <= _RTMAX else 0
    name = _OTHER_NAMES.get(name, name)
    if name in _EXTRA:
        return _EXTRA[name]
    found = getattr(signal, f"SIG{name}", None)
    return int(found) if isinstance(found, signal.Signals) else 0


def name_of(number: int) -> str:
    """The name of a signal ("SIGTERM", "SIGRTMIN+3", "SIGRTMAX-1"); the number as text if there is none."""
    if _RTMIN <= number <= _RTMAX:
        if number <= _RTMIN + 15:
            return "SIGRTMIN" + (f"+{number - _RTMIN}" if number > _RTMIN else "")
        return "SIGRTMAX" + (f"-{_RTMAX - number}" if number < _RTMAX else "")
    for extra, value in _EXTRA.items():
        if value == number:
            return f"SIG{extra}"
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


@lru_cache(maxsize=128)
def value_of(number: int) -> pb.Signal.ValueType:
    """The CRI's value for a signal; RUNTIME_DEFAULT if it has none."""
    name = name_of(number).replace("+", "PLUS").replace("-", "MINUS")
    return pb.Signal.Value(name) if name in pb.Signal.keys() else pb.RUNTIME_DEFAULT  # noqa: SIM118


def number_of(value: int) -> int:
    """The number of the CRI's signal; 0 for RUNTIME_DEFAULT and values that are none."""
    if value == pb.RUNTIME_DEFAULT or value not in pb.Signal.values():
        return 0
    return parse(pb.Signal.Name(pb.Signal.ValueType(value)))


def choose(requested: int, image: str, warnings: list[str]) -> StopSignal:
    """The stop signal of a container. A text in the image that is no signal is passed over with a warning."""
    number = number_of(requested)
    if not number and image:
        number = parse(image)
        if not number:
            warnings.append(f"the image's stop signal {image[:60]!r} is none: SIGTERM is used")
    number = number or int(signal.SIGTERM)
    return StopSignal(number, name_of(number), value_of(number))
