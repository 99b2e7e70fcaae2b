"""Entries for the journal, read back from a datagram socket in its place."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.conmon.journal import Journal


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "journal"))
        sock.settimeout(60)
        yield sock


def test_fields(receiver: socket.socket) -> None:
    journal = Journal("0123456789abcdef", "name", "tag", ["LABEL=v"], receiver.getsockname())
    journal.write("stderr", b"one\ntwo")
    assert receiver.recv(4096) == (
        b"SYSLOG_IDENTIFIER=tag\nCONTAINER_ID=0123456789ab\nCONTAINER_ID_FULL=0123456789abcdef\n"
        b"CONTAINER_NAME=name\nCONTAINER_TAG=tag\nLABEL=v\nPRIORITY=3\nMESSAGE=one\n"
    )
    assert receiver.recv(4096).endswith(b"PRIORITY=3\nMESSAGE=two\nCONTAINER_PARTIAL_MESSAGE=true\n")
    journal.close()


def test_value_with_newline_has_a_length(receiver: socket.socket) -> None:
    journal = Journal("id", "a\nb", "", [], receiver.getsockname())
    journal.write("stdout", b"x\n")
    assert b"CONTAINER_NAME\n\x03\0\0\0\0\0\0\0a\nb\n" in receiver.recv(4096)
    journal.close()


def test_long_and_unfinished_lines(receiver: socket.socket) -> None:
    journal = Journal("id", "n", "", [], receiver.getsockname())
    journal.write("stdout", b"x" * 20_000 + b"\n\n")
    first, second, third = (receiver.recv(65536) for _ in range(3))
    assert first.count(b"x") == 16384
    assert first.endswith(b"CONTAINER_PARTIAL_MESSAGE=true\n")
    assert second.endswith(b"MESSAGE=" + b"x" * (20_000 - 16384) + b"\n")
    assert third.endswith(b"MESSAGE=\n")
    journal.close()


def test_journal_that_is_not_there_or_does_not_read(tmp_path: Path, receiver: socket.socket) -> None:
    absent = Journal("id", "n", "", [], str(tmp_path / "absent"))
    absent.write("stdout", b"lost\n")
    assert absent.dropped == 5
    stuck = Journal("id", "n", "", [], receiver.getsockname())
    stuck.write("stdout", b"line\n" * 10_000)
    assert stuck.dropped > 0
    for _ in range(5):
        receiver.recv(4096)
    before = stuck.dropped
    stuck.write("stdout", b"again\n")
    assert stuck.dropped == before
    stuck.close()
