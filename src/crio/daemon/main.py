"""The daemon's process: start, signals, stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from crio import __version__
from crio.base import logs
from crio.base.errors import CrioError
from crio.config import LoadedConfig
from crio.config.unsupported import unsupported_lines
from crio.daemon.profiling import profiled
from crio.wire.sd_notify import Notifier

if TYPE_CHECKING:
    from crio.daemon.wiring import Daemon

log = logging.getLogger(__name__)


def main(loaded: LoadedConfig) -> int:
    """Run the daemon until SIGTERM or SIGINT; 0 after an orderly stop, 1 if it cannot start."""
    config = loaded.config
    os.umask(0o022)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
    if not os.environ.get("_CRIO_ROOTLESS"):
        # A root's own session must not be mistaken for the one of a rootless node: systemd is then the system's.
        for name in ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"):
            os.environ.pop(name, None)
    try:
        logs.setup(
            config.runtime.log_level,
            form=str(loaded.flags.get("log-format") or "text"),
            path=str(loaded.flags.get("log") or ""),
            line_filter=config.runtime.log_filter,
        )
        with profiled(loaded.flags):
            return asyncio.run(_run(loaded))
    except CrioError as error:
        print(f"crio: {error.message}", file=sys.stderr)
        return 1


async def _run(loaded: LoadedConfig) -> int:
    from crio.daemon.wiring import Daemon

    begin = time.monotonic()
    notifier = Notifier.take()
    for line in unsupported_lines(loaded.config, loaded.sources.keys()):
        log.warning("%s", line)
    daemon = Daemon(loaded)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, daemon.reload_soon, notifier)
    loop.add_signal_handler(signal.SIGUSR1, _write_dump)
    loop.add_signal_handler(signal.SIGUSR2, gc.collect)
    try:
        await daemon.start()
        # What lives now lives as long as the daemon: the collector need not look at it again. What it would find is a
        # few hundred small objects, and looking takes a tenth of the start.
        gc.freeze()
        gc.enable()
        notifier.ready(f"serving on {loaded.config.api.listen}")
        log.info(
            "crio %s is ready on %s after %.0f ms",
            __version__,
            loaded.config.api.listen,
            1e3 * (time.monotonic() - begin),
        )
        alive = loop.create_task(_watchdog(daemon, notifier)) if notifier.watchdog_interval else None
        await stopping.wait()
        log.info("stopping; pods and containers go on")
        notifier.stopping("stopping; pods and containers go on")
        if alive is not None:
            alive.cancel()
    finally:
        await daemon.stop()
    return 0


async def _watchdog(daemon: Daemon, notifier: Notifier) -> None:
    """A sign of life while the daemon answers a call to itself; a loop that hangs sends none and is restarted."""
    while True:
        try:
            async with asyncio.timeout(notifier.watchdog_interval / 2):
                await daemon.answers()
            notifier.alive()
        except (CrioError, TimeoutError) as error:
            log.warning("the daemon does not answer itself: %s", error or "no answer in time")
        await asyncio.sleep(notifier.watchdog_interval / 2)


def _write_dump() -> None:
    """SIGUSR1: where every task and thread is, into a file of its own in /tmp (CRI-O's name for it)."""
    from crio.daemon.inspect import dump_tasks

    prefix = f"crio-goroutine-stacks-{time.strftime('%Y-%m-%dT%H%M%SZ', time.gmtime())}-"
    try:
        fd, path = tempfile.mkstemp(prefix=prefix, suffix=".log", dir="/tmp")
        with open(fd, "w", encoding="utf-8") as file:
            file.write(dump_tasks())
    except OSError as error:
        log.error("cannot write the stacks: %s", error)
    else:
        log.info("stacks of all tasks and threads are in %s", path)
