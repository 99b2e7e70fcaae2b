from __future__ import annotations

import asyncio
import time

import pytest

from crio.base.process import ProcessFailed, ProcessTimeout
from crio.storage.driver.programs import run_program


def test_how_it_ended_is_told() -> None:
    run_program(["true"], timeout=60)
    with pytest.raises(ProcessFailed, match="exit code 1"):
        run_program(["false"], timeout=60)
    with pytest.raises(ProcessTimeout):
        run_program(["sleep", "30"], timeout=0.1)
    with pytest.raises(FileNotFoundError):
        run_program(["/nonexistent/program"], timeout=60)


def test_from_a_thread_with_an_event_loop() -> None:
    async def inside() -> float:
        start = time.monotonic()
        run_program(["true"], timeout=60)
        return time.monotonic() - start

    assert asyncio.run(inside()) < 60
