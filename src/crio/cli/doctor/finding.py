"""What a check has found."""

from __future__ import annotations

import enum
from typing import NamedTuple

from crio.config import LoadedConfig


class Level(enum.StrEnum):
    OK = "ok"
    WARNING = "warning"
    """Works, but not as well as it could."""
    ERROR = "error"
    """Pods do not run, or will fail."""


class Finding(NamedTuple):
    """One sentence about one subject, and what to do about it (empty if there is nothing to do)."""

    level: Level
    subject: str
    text: str
    remedy: str = ""


class Patient(NamedTuple):
    """What is looked at."""

    loaded: LoadedConfig | None
    """The configuration, if it can be used."""
    socket: str
    """Path of the daemon's socket."""
    offline: bool = False
    """Do not try to reach registries."""


def ok(subject: str, text: str) -> Finding:
    return Finding(Level.OK, subject, text)


def warning(subject: str, text: str, remedy: str = "") -> Finding:
    return Finding(Level.WARNING, subject, text, remedy)


def error(subject: str, text: str, remedy: str = "") -> Finding:
    return Finding(Level.ERROR, subject, text, remedy)
