"""Programs that a driver needs: cp, fuse-overlayfs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

from crio.base.process import run


def run_program(argv: Sequence[str], *, timeout: float) -> None:
    """Run a program to its end; blocks, so call it from an executor's thread.

    Raises ProcessFailed, ProcessTimeout after `timeout` seconds, OSError if it cannot be started.
    """
    failure: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(run(argv, timeout=timeout))
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            failure.append(error)

    # Of its own, because the caller's thread may have an event loop already.
    thread = threading.Thread(target=work, name=f"run {argv[0][-32:]}")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
