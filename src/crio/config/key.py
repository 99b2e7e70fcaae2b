"""What the schema says about one key of crio.conf beside its name, type and default."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec


class Reload(enum.Enum):
    """When a new value of a key takes effect."""

    LIVE = "live"
    """After SIGHUP, for everything that starts from then on."""
    WATCHED = "watched"
    """After SIGHUP; besides, the content of the named file or directory is followed without a signal."""
    RESTART = "restart"
    """When the daemon starts again."""


class Unit(enum.Enum):
    """How a number is written in the file."""

    PLAIN = "number"
    SIZE = "size"
    """Bytes; written as "12MiB"."""
    DURATION = "duration"
    """Seconds; written as "1m30s", or as a bare number of nanoseconds."""


DERIVED = "="
"""The flag or environment name follows from the key's: log_level -> --log-level, CONTAINER_LOG_LEVEL."""


class Key(msgspec.Struct, frozen=True):
    """Meta-data of a key; the value's type and default stand in the struct that holds it."""

    text: str
    """What the key does, in sentences for the configuration file, `crio config explain` and the manual."""
    reload: Reload = Reload.LIVE
    unit: Unit = Unit.PLAIN
    choices: tuple[str, ...] = ()
    """The only values that are allowed; for a list, of each element."""
    deprecated: str = ""
    """Not empty: the key is accepted with a warning, and this names what to use in its place."""
    flag: str = DERIVED
    """Name of the command-line flag without dashes; empty if there is none."""
    env: str = DERIVED
    """Name of the environment variable; empty if there is none."""


def find_choice(choices: Sequence[str], text: str) -> str | None:
    """The choice that `text` is; small and capital letters are the same, as CRI-O has it for log_level."""
    return next((choice for choice in choices if choice.lower() == text.lower()), None)


RESTART = Reload.RESTART
WATCHED = Reload.WATCHED
