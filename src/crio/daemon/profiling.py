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
    import cProfile
    import pstats

    from crio.rpc.http_connection import HttpHandler

log = logging.getLogger(__name__)

DEFAULT_SECONDS = 30
MAX_SECONDS = 300
_FRAMES = 10

_running = False
# An interpreter makes one profile at a time: that of --profile-cpu pauses while another is made, which is added to it.
_whole: cProfile.Profile | None = None
_apart: pstats.Stats | None = None


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
    global _whole, _apart
    import cProfile
    import pstats

    profile = _whole = cProfile.Profile()
    profile.enable()
    try:
        yield
    finally:
        profile.disable()
        stats = pstats.Stats(profile)
        if _apart is not None:
            stats.add(_apart)
        _whole = _apart = None
        with _reported(path):
            stats.dump_stats(path)


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
    global _running, _apart
    import cProfile  # lazy: only for whoever looks for what is slow
    import pstats

    text = seconds_text or str(DEFAULT_SECONDS)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_SECONDS:
        raise InvalidArgument(f"cannot profile for {text[:20]!r} seconds: it must be a number from 1 to {MAX_SECONDS}")
    if _running:
        raise FailedPrecondition("cannot profile: another profile is being made; try again when it is done")
    profile = cProfile.Profile()
    out = io.StringIO()
    _running = True
    try:
        with _whole_paused():
            profile.enable()
            try:
                await asyncio.sleep(int(text))
            finally:
                profile.disable()
            stats = pstats.Stats(profile, stream=out)  # ends all profiling once more, so within the pause
    except ValueError as error:
        raise FailedPrecondition(f"cannot profile: {error}") from None
    finally:
        _running = False
    stats.sort_stats("cumulative").print_stats(80)
    if _whole is not None:
        _apart = stats if _apart is None else _apart.add(stats)
    return out.getvalue()


@contextlib.contextmanager
def _whole_paused() -> Iterator[None]:
    whole = _whole
    if whole is not None:
        whole.disable()
    try:
        yield
    finally:
        if whole is not None and whole is _whole:
            whole.enable()


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
