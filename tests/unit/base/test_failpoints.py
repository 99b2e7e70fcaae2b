"""Failpoints: inert, or exactly what they were set to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from crio.base import failpoints
from crio.base.errors import Internal


@pytest.fixture(autouse=True)
def _switched_off() -> Iterator[None]:
    yield
    failpoints.configure("")


def test_error_fires_as_often_as_told() -> None:
    failpoints.configure("a.b=error*2")
    for _ in range(2):
        with pytest.raises(Internal, match=r"a\.b"):
            failpoints.failpoint("a.b")
    failpoints.failpoint("a.b")
    failpoints.failpoint("other")


@pytest.mark.parametrize("text", ["a", "a=explode", "a=sleep(x)", "=kill"])
def test_malformed_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cannot use failpoint"):
        failpoints.configure(text)


def test_kill_is_a_sigkill_and_comes_from_the_environment() -> None:
    program = "from crio.base.failpoints import failpoint; failpoint('x'); print('alive')"
    result = subprocess.run([sys.executable, "-c", program], env={"CRIO_FAILPOINTS": "x=kill"}, capture_output=True)
    assert result.returncode == -9
    assert result.stdout == b""
