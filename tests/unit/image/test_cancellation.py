from __future__ import annotations

import socket
import threading

import pytest

from crio.base.errors import Cancelled
from crio.image.cancellation import Cancellation


def test_first_reason_counts() -> None:
    scope = Cancellation("the pull of x")
    scope.check()
    scope.cancel("one")
    scope.cancel("two")
    assert scope.cancelled
    with pytest.raises(Cancelled, match="cannot finish the pull of x: one"):
        scope.check()


def test_sleep_ends() -> None:
    scope = Cancellation()
    scope.sleep(0.001)
    threading.Timer(0.05, scope.cancel, ["enough"]).start()
    with pytest.raises(Cancelled):
        scope.sleep(60)


@pytest.mark.parametrize("before", [True, False])
def test_sockets_are_shut(before: bool) -> None:
    scope = Cancellation()
    one, other = socket.socketpair()
    with one, other:
        if before:
            scope.cancel("enough")
            scope.attach(one)
        else:
            scope.attach(one)
            scope.cancel("enough")
        assert other.recv(1) == b""


def test_detached_sockets_live() -> None:
    scope = Cancellation()
    one, other = socket.socketpair()
    with one, other:
        scope.attach(one)
        scope.detach(one)
        scope.cancel("enough")
        one.send(b"x")
        assert other.recv(1) == b"x"


def test_parts() -> None:
    scope = Cancellation("the whole")
    with scope.part() as part:
        part.cancel("part")
        assert not scope.cancelled
    with scope.part() as part:
        scope.cancel("all")
        with pytest.raises(Cancelled, match="the whole: all"):
            part.check()
    with scope.part() as late:
        assert late.cancelled
