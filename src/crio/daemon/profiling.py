"""Profiles of the daemon: into files at its end (--profile-cpu, --profile-mem), or asked for over HTTP while it runs.

They are Python's own: what `pstats` and `tracemalloc` read. While one is made, the daemon is slower by a third.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from crio.base.errors import FailedPrecondition, InvalidArgument, Unavailable

if TYPE_CHECKING:
    from crio.rpc.http_connection import HttpHandler

log = logging.getLogger(__name__)

DEFAULT_SECONDS = 30
MAX_SECONDS = 300
_FRAMES = 10

_running = False


@contextlib.contextmanager
def profiled(flags: Mapping[str, Any]) -> Iterator[None]:
    """Profile the block as --profile-cpu FILE and --profile-mem FILE say; the files are written at its end."""
    with contextlib.ExitStack() as stack:
        if path := str(flags.get("profile-cpu") or ""):
            stack.enter_context(_cpu_into(path))
        if path := str(flags.get("profile-mem") or ""):
            stack.enter_context(_memory_into(path))
        yield


@contextlib.contextmanager
def _cpu_into(path: str) -> Iterator[None]:
    import cProfile

    profile = cProfile.Profile()
    profile.enable()
    try:
        yield
    finally:
        profile.disable()
        with _reported(path):
            profile.dump_stats(path)


@contextlib.contextmanager
def _memory_into(path: str) -> Iterator[None]:
    import tracemalloc

    tracemalloc.start(_FRAMES)
    try:
        yield
    finally:
        snapshot = tracemalloc.take_snapshot()
        tracemalloc.stop()
        with _reported(path):
            snapshot.dump(path)


@contextlib.contextmanager
def _reported(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.error("cannot write the profile %s: %s", path, error.strerror)


async def cpu_profile(seconds_text: str) -> str:
    """Where the event loop's thread spends its time in the next seconds, as a table of functions.

    Raises InvalidArgument for a time that is no number from 1 to 300, FailedPrecondition while another profile is made.
    """
    global _running
    import cProfile  # lazy: only for whoever looks for what is slow
    import pstats

    text = seconds_text or str(DEFAULT_SECONDS)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_SECONDS:
        raise InvalidArgument(f"cannot profile for {text[:20]!r} seconds: it must be a number from 1 to {MAX_SECONDS}")
    if _running:
        raise FailedPrecondition("cannot profile: another profile is being made; try again when it is done")
    profile = cProfile.Profile()
    _running = True
    try:
        profile.enable()
        await asyncio.sleep(int(text))
    except ValueError as error:
        raise FailedPrecondition(f"cannot profile: {error}") from None
    finally:
        profile.disable()
        _running = False
    out = io.StringIO()
    pstats.Stats(profile, stream=out).sort_stats("cumulative").print_stats(80)
    return out.getvalue()


async def serve_profiles(handler: HttpHandler, port_text: str) -> asyncio.Server:
    """Serve the inspect endpoints on 127.0.0.1 too (--profile, --profile-port). Raises InvalidArgument, Unavailable."""
    from crio.rpc.http_connection import HttpConnection

    if not port_text.isascii() or not port_text.isdigit() or int(port_text) > 65535:
        raise InvalidArgument(f"cannot serve profiles: --profile-port {port_text[:20]!r} is no port number")
    tasks: set[asyncio.Task[None]] = set()
    try:
        server = await asyncio.get_running_loop().create_server(
            lambda: HttpConnection(handler, tasks, lambda _: None), "127.0.0.1", int(port_text)
        )
    except OSError as error:
        raise Unavailable(f"cannot serve profiles on 127.0.0.1:{port_text}: {error.strerror}") from None
    log.info("profiles are served on http://127.0.0.1:%d/debug/", server.sockets[0].getsockname()[1])
    return server
