"""Log set-up of the daemon: form, level and filter of lines, and what each line says about the request it belongs to.

Modules log with `logging.getLogger(__name__)` and know nothing of this. `bind` puts the request's id and other fields
(rpc, pod, container) on every line that is logged from there on in the same task and in the tasks it starts. Level and
filter change while the daemon runs; the form is chosen once.
"""

from __future__ import annotations

import contextlib
import contextvars
import datetime
import json
import logging
import os
import re
import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import msgspec

from crio.base.errors import InvalidArgument
from crio.base.regex import regex

TRACE = 5
"""A level below DEBUG, for what would flood a debug log."""

LEVELS: Mapping[str, int] = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "panic": logging.CRITICAL,
    "fatal": logging.CRITICAL,
}
"""The names that crio.conf has."""

MAX_LINE = 16 * 1024
"""Characters of a message; what a runtime or plug-in wrote may be long. The rest is cut."""

_JOURNAL = "/run/systemd/journal/socket"
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_PLAIN = regex(r"[\w./:@+-]+")

_NONE: Mapping[str, str] = MappingProxyType({})
_fields: contextvars.ContextVar[Mapping[str, str]] = contextvars.ContextVar("log_fields", default=_NONE)


@contextlib.contextmanager
def bind(**fields: str) -> Iterator[None]:
    """Lines that are logged within say these fields; an inner value hides an outer one."""
    token = _fields.set({**_fields.get(), **fields})
    try:
        yield
    finally:
        _fields.reset(token)


def bound() -> Mapping[str, str]:
    """The fields of the current task."""
    return _fields.get()


def new_request_id() -> str:
    """A short id which tells requests of one node apart."""
    return os.urandom(8).hex()


def setup(
    level: str, *, form: str = "text", path: str = "", line_filter: str = "", journal: bool | None = None
) -> None:
    """Start logging, in place of what was set up before.

    Lines go to `path`, else to the journal when standard error is connected to it (`journal` None: find out), else to
    standard error. `form` is "text" or "json". Raises InvalidArgument for a level, form or filter that cannot be, and
    OSError if the file cannot be opened.
    """
    logging.addLevelName(TRACE, "TRACE")
    formatter: logging.Formatter
    if form == "json":
        formatter = _JsonFormatter()
    elif form == "text":
        formatter = _TextFormatter()
    else:
        raise InvalidArgument(f'cannot log in the form "{form}": it must be text or json')
    handler: logging.Handler
    if path:
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    elif journal if journal is not None else stderr_is_journal():
        handler = _JournalHandler()
        formatter = _MessageFormatter()
    else:
        handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(_filter)
    set_filter(line_filter)
    set_level(level)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    logging.captureWarnings(True)


def set_level(level: str) -> None:
    """Change the lowest level that is logged. Raises InvalidArgument for an unknown name."""
    if level not in LEVELS:
        raise InvalidArgument(f'cannot set the log level "{level}": it must be one of {", ".join(LEVELS)}')
    logging.getLogger().setLevel(LEVELS[level])
    # The loggers of libraries tell little of use to an operator below these levels.
    for name in ("asyncio", "hpack"):
        logging.getLogger(name).setLevel(max(LEVELS[level], logging.INFO))


def set_filter(pattern: str) -> None:
    """Drop lines of which the text does not match the regular expression; empty: drop none. Raises InvalidArgument."""
    try:
        _filter.pattern = re.compile(pattern) if pattern else None
    except re.error as error:
        raise InvalidArgument(f'cannot filter log lines by "{pattern}": {error}') from None


def stderr_is_journal() -> bool:
    """Whether standard error is the journal's stream, which then is better spoken to directly (systemd.exec(5))."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(2)
        return (str(status.st_dev), str(status.st_ino)) == (device, inode)
    except OSError:
        return False


class _LineFilter(logging.Filter):
    """Keeps lines that match the pattern, whether in the message or in `name="value"` fields."""

    pattern: re.Pattern[str] | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        if self.pattern is None:
            return True
        text = record.getMessage() + "".join(f" {name}={value}" for name, value in _fields.get().items())
        return self.pattern.search(text) is not None


_filter = _LineFilter()


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info:
        if not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        text = f"{text}\n{record.exc_text}"
    return text if len(text) <= MAX_LINE else f"{text[:MAX_LINE]}… ({len(text)} characters)"


def _level(record: logging.LogRecord) -> str:
    return "warn" if record.levelno == logging.WARNING else record.levelname.lower()


def _time(record: logging.LogRecord) -> str:
    return datetime.datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="microseconds")


class _TextFormatter(logging.Formatter):
    """time="…" level=… msg="…" id=… name=…: one line, whatever is in the message."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={_value(value)}" for name, value in _fields.get().items())
        message = _quoted(_message(record))
        return f'time="{_time(record)}" level={_level(record)} msg={message}{fields}'


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        content = {
            "time": _time(record),
            "level": _level(record),
            "msg": _message(record),
            "logger": record.name,
            **_fields.get(),
        }
        return json.dumps(content, ensure_ascii=False)


class _MessageFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _message(record)


class _JournalHandler(logging.Handler):
    """Entries in the journal's native protocol (systemd: JOURNAL_NATIVE_PROTOCOL), with fields to search for.

    An entry that is too large for a datagram is cut; while the journal is away, lines go to standard error.
    """

    def __init__(self, path: str = _JOURNAL) -> None:
        super().__init__()
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        fields = {
            "MESSAGE": text,
            "PRIORITY": str(next((p for level, p in _PRIORITIES if record.levelno >= level), 7)),
            "SYSLOG_IDENTIFIER": "crio",
            "LOGGER": record.name,
            **{f"CRIO_{name.upper()}": value for name, value in _fields.get().items()},
        }
        data = b"".join(_journal_field(name, value) for name, value in fields.items())
        try:
            self._socket.sendto(data, self._path)
        except OSError:
            sys.stderr.write(f"{text}\n")

    def close(self) -> None:
        self._socket.close()
        super().close()


def _journal_field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "backslashreplace")
    if b"\n" in data:
        return b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(data)), data)
    return b"%s=%s\n" % (name.encode(), data)


def _value(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    try:
        return msgspec.json.encode(text).decode()
    except UnicodeEncodeError:  # it has bytes that are no UTF-8
        return msgspec.json.encode(text.encode(errors="backslashreplace").decode()).decode()
