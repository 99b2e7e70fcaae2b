from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.base import logs
from crio.base.errors import InvalidArgument

log = logging.getLogger("crio.test")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The root logger as pytest has it."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    logs.set_filter("")


def start(path: Path, level: str = "info", form: str = "text", line_filter: str = "") -> None:
    logging.getLogger().handlers.clear()
    logs.setup(level, form=form, path=str(path), line_filter=line_filter)


def test_text_lines(tmp_path: Path) -> None:
    start(tmp_path / "log")
    log.info('a "quoted"\nmessage')
    log.debug("not this")
    with logs.bind(id="abc-1", name="RunPodSandbox"), logs.bind(pod="a b"):
        log.warning("careful")
    first, second = (tmp_path / "log").read_text().splitlines()
    assert re.fullmatch(r'time="\S+" level=info msg="a \\"quoted\\"\\nmessage"', first)
    assert second.endswith('level=warn msg="careful" id=abc-1 name=RunPodSandbox pod="a b"')


def test_json_lines(tmp_path: Path) -> None:
    start(tmp_path / "log", form="json")
    with logs.bind(id="1"):
        log.error("bad %s", "thing")
    line = json.loads((tmp_path / "log").read_text())
    assert (line["level"], line["msg"], line["id"], line["logger"]) == ("error", "bad thing", "1", "crio.test")


def test_exceptions_stay_in_one_line(tmp_path: Path) -> None:
    start(tmp_path / "log")
    try:
        raise ValueError("inner")
    except ValueError:
        log.exception("failed")
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert "failed\\nTraceback" in line
    assert "ValueError: inner" in line


def test_long_messages_are_cut(tmp_path: Path) -> None:
    start(tmp_path / "log", form="json")
    log.info("x" * 100_000)
    message = json.loads((tmp_path / "log").read_text())["msg"]
    assert len(message) < logs.MAX_LINE + 50
    assert message.endswith("… (100000 characters)")


def test_level_and_filter_change_while_running(tmp_path: Path) -> None:
    start(tmp_path / "log", line_filter="^keep|id=77")
    log.info("keep this")
    log.info("drop this")
    with logs.bind(id="77"):
        log.info("of the request")
    logs.set_filter("")
    logs.set_level("debug")
    log.debug("and this")
    messages = re.findall(r'msg="([^"]*)"', (tmp_path / "log").read_text())
    assert messages == ["keep this", "of the request", "and this"]


@pytest.mark.parametrize("level", ["trace", "debug", "info", "warn", "warning", "error", "fatal", "panic"])
def test_every_level_of_the_configuration(level: str) -> None:
    logs.set_level(level)
    assert logging.getLogger().level == logs.LEVELS[level]


def test_what_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="log level"):
        logs.set_level("loud")
    with pytest.raises(InvalidArgument, match="cannot filter"):
        logs.set_filter("(")
    with pytest.raises(InvalidArgument, match='the form "xml"'):
        logs.setup("info", form="xml")


async def test_fields_follow_tasks_and_do_not_leak() -> None:
    async def task() -> dict[str, str]:
        with logs.bind(container="c"):
            await asyncio.sleep(0)
            return dict(logs.bound())

    with logs.bind(id="1"):
        inner = asyncio.create_task(task())
        outside = dict(logs.bound())
    assert await inner == {"id": "1", "container": "c"}
    assert outside == {"id": "1"}
    assert logs.bound() == {}


def test_request_ids_differ() -> None:
    assert len({logs.new_request_id() for _ in range(100)}) == 100


def test_the_journal_gets_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "journal")
    monkeypatch.setattr(logs._JournalHandler.__init__, "__defaults__", (path,))
    logging.getLogger().handlers.clear()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(path)
        logs.setup("info", journal=True)
        with logs.bind(id="9", pod="p"):
            log.error("one\ntwo")
            log.info("plain")
        first, second = journal.recv(65536), journal.recv(65536)
    text = b"one\ntwo"
    assert first.startswith(b"MESSAGE\n" + struct.pack("<Q", len(text)) + text + b"\nPRIORITY=3\n")
    assert b"\nCRIO_ID=9\nCRIO_POD=p\n" in first
    assert second.startswith(b"MESSAGE=plain\nPRIORITY=6\nSYSLOG_IDENTIFIER=crio\n")


def test_the_journal_is_found_by_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    assert logs.stderr_is_journal()
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    assert not logs.stderr_is_journal()
    monkeypatch.delenv("JOURNAL_STREAM")
    assert not logs.stderr_is_journal()
