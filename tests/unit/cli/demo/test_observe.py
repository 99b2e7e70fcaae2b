from __future__ import annotations

import asyncio
import os
import socket

import pytest

from crio.base.errors import DeadlineExceeded
from crio.cli.demo import observe


def test_lines_come_whole() -> None:
    shown: list[str] = []
    lines = observe.Lines(shown.append)
    for data in (b"one\ntw", b"o\n", b"", b"rest"):
        lines.write(data)
        lines.flush()
    assert (shown, lines.count) == (["one", "two"], 2)


async def test_fetch_waits_until_something_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\nhello\n")
        writer.close()

    monkeypatch.setattr(observe, "_ANSWER_SECONDS", 60.0)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        fetching = asyncio.ensure_future(observe.fetch("127.0.0.1", held.getsockname()[1]))
        await asyncio.sleep(0.05)
        server = await asyncio.start_server(answer, sock=held)
        assert await fetching == "hello"
        server.close()


async def test_fetch_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "_ANSWER_SECONDS", 0.1)
    with pytest.raises(DeadlineExceeded, match="cannot reach"):
        await observe.fetch("127.0.0.1", 1)


def test_processes() -> None:
    assert observe.parent(os.getpid()) == os.getppid()
    assert observe.own_memory(os.getpid()) > 1 << 20
