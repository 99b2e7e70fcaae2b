from __future__ import annotations

import pytest

from crio.base.errors import InvalidArgument, ResourceExhausted
from crio.streaming.requests import MAX_WAITING, TOKEN_LIFETIME, CommandRequest, PortForwardRequest, Tokens

REQUEST = PortForwardRequest("pod", (80,))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_token_is_good_once() -> None:
    tokens = Tokens(Clock())
    token = tokens.issue(REQUEST)
    assert len(token) == 22
    assert tokens.redeem(token) is REQUEST
    assert tokens.redeem(token) is None
    assert tokens.redeem("") is None


def test_token_expires() -> None:
    clock = Clock()
    tokens = Tokens(clock)
    token = tokens.issue(REQUEST)
    clock.now += TOKEN_LIFETIME
    assert tokens.redeem(token) is None


def test_tokens_are_bounded_until_they_expire_or_are_used() -> None:
    clock = Clock()
    tokens = Tokens(clock)
    issued = [tokens.issue(REQUEST) for _ in range(MAX_WAITING)]
    assert len(set(issued)) == MAX_WAITING
    with pytest.raises(ResourceExhausted):
        tokens.issue(REQUEST)
    tokens.redeem(issued[500])
    tokens.issue(REQUEST)
    clock.now += TOKEN_LIFETIME + 1
    tokens.issue(REQUEST)
    assert len(tokens) == 1


@pytest.mark.parametrize(("tty", "stdin", "stdout", "stderr"), [(True, True, True, True), (False, False, False, False)])
def test_impossible_streams(tty: bool, stdin: bool, stdout: bool, stderr: bool) -> None:
    with pytest.raises(InvalidArgument):
        CommandRequest("c", (), tty, stdin, stdout, stderr)
