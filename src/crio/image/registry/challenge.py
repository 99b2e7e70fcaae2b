"""WWW-Authenticate (RFC 9110, section 11.6.1): the challenges in its values. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

MAX_LENGTH = 16 << 10

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?:\s+|(?=,)|$)")
_TOKEN68 = re.compile(r"([A-Za-z0-9\-._~+/]+=*)\s*(?=,|$)")
_PARAMETER = re.compile(rf'[\s,]*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}|[^\s,"]+))\s*(?=,|$)')
_ESCAPE = re.compile(r"\\(.)")


class Challenge(msgspec.Struct, frozen=True):
    """`scheme` and the names of `parameters` in lower case."""

    scheme: str
    parameters: Mapping[str, str] = msgspec.field(default_factory=dict)


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """The challenges in order. What cannot be read ends the value it is in."""
    found: list[Challenge] = []
    for value in values:
        text = value[:MAX_LENGTH]
        position = 0
        while match := _SCHEME.match(text, position):
            position = match.end()
            parameters: dict[str, str] = {}
            if blob := _TOKEN68.match(text, position):
                position = blob.end()
            else:
                while parameter := _PARAMETER.match(text, position):
                    name, quoted, plain = parameter.groups()
                    parameters[name.lower()] = plain if quoted is None else _ESCAPE.sub(r"\1", quoted)
                    position = parameter.end()
            found.append(Challenge(match[1].lower(), parameters))
    return found
