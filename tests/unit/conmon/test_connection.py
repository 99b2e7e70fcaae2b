"""Connections to a monitor that is there, and to one that is not any more."""

from __future__ import annotations

import socket

import pytest

from crio.conmon.connection import Connection
from crio.conmon.errors import MonitorGone


def _pair() -> tuple[Connection, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Connection(ours), theirs


async def test_request_to_a_monitor_that_has_just_ended() -> None:
    connection, theirs = _pair()
    theirs.close()
    with pytest.raises(MonitorGone):
        await connection.request("status", {}, 1.0)
    connection.close()


async def test_request_that_a_monitor_ends_over() -> None:
    connection, theirs = _pair()
    connection.send("status", {})
    theirs.close()
    with pytest.raises(MonitorGone):
        await connection.answer(1.0)
    with pytest.raises(MonitorGone):
        await connection.request("status", {}, 1.0)
