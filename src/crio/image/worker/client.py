"""The daemon's side of the image worker: starts it when there is work, and lets it go when there has been none."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from crio.base.errors import Cancelled, CrioError, Unavailable
from crio.base.process import kill_and_reap, signal_name, wait_pid_exit
from crio.base.tasks import TaskScope
from crio.image.worker.messages import (
    MAX_MESSAGE,
    Cancel,
    Failed,
    Finished,
    Load,
    Pull,
    StoredImage,
    Update,
    Verify,
    Work,
    decode_reply,
    encode,
    error_of,
)

log = logging.getLogger(__name__)

IDLE_SECONDS = 30.0
_LEAVE_SECONDS = 8.0
_NOT_INHERITED = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID")

OnUpdate = Callable[[Update], None]


class _Call(msgspec.Struct):
    answer: asyncio.Future[tuple[StoredImage, ...]]
    on_update: OnUpdate
    running: _Running | None = None


class _Running(msgspec.Struct):
    child: subprocess.Popen[bytes]
    connection: socket.socket
    entering: asyncio.Lock
    placed: bool


class Place(Protocol):
    """Where a worker runs, if not in the daemon's control group."""

    async def enter(self, pid: int) -> None:
        """Bring a worker there, before it does anything; again is fine. Raises CrioError."""

    async def leave(self, pid: int) -> None:
        """The worker has ended."""


class WorkerClient:
    """Sends requests to the worker; any number at a time. To be used from the event loop's thread."""

    def __init__(
        self,
        store_options: bytes,
        *,
        environ: Mapping[str, str] | None = None,
        idle: float = IDLE_SECONDS,
        place: Place | None = None,
    ) -> None:
        """`store_options`: JSON of the StoreOptions. `environ` (default: this process's) brings proxies and file
        locations; `idle`: seconds without work after which the worker may go."""
        self._options = store_options
        self._environ = dict(os.environ if environ is None else environ)
        self.idle = idle
        self._place = place
        self._running: _Running | None = None
        self._calls: dict[int, _Call] = {}
        self._last_id = 0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._scope = TaskScope("image worker")
        self._stopped = False

    @property
    def pid(self) -> int | None:
        """The worker's process id while it runs."""
        return self._running.child.pid if self._running else None

    @property
    def unused(self) -> bool:
        """Whether it has no process and nothing to do, and may be forgotten."""
        return self._running is None and not self._calls and not self._scope

    async def pull(self, request: Pull, on_update: OnUpdate) -> tuple[StoredImage, ...]:
        """Raises what the worker's job raised; Unavailable if the worker itself came to an end."""
        return await self._call(request, on_update)

    async def load(self, request: Load, on_update: OnUpdate) -> tuple[StoredImage, ...]:
        return await self._call(request, on_update)

    async def verify(self, request: Verify) -> None:
        """Raises as `trust.stored.verify`; Unavailable if the worker itself came to an end."""
        await self._call(request, lambda update: None)

    async def stop(self) -> None:
        """Cancel all work and wait for the worker's end."""
        self._stopped = True
        running = self._running
        self._let_go(Cancelled("cannot finish the pull: the daemon is stopping"))
        if running is not None:
            await self._wait_gone(running)
        await self._scope.join()

    async def _call(self, request: Work, on_update: OnUpdate) -> tuple[StoredImage, ...]:
        if self._stopped:
            raise Cancelled("cannot pull: the daemon is stopping")
        self._last_id += 1
        number = self._last_id
        data = encode(msgspec.structs.replace(request, id=number))
        loop = asyncio.get_running_loop()
        call = self._calls[number] = _Call(loop.create_future(), on_update)
        try:
            running = call.running = self._ensure_running()
            if self._place is not None:
                await self._enter(running, self._place)
                if call.answer.done():
                    return call.answer.result()
            await loop.sock_sendall(running.connection, data)
            return await call.answer
        except OSError as error:
            raise Unavailable(f"cannot reach the image worker: {error}; try again") from None
        except asyncio.CancelledError:
            self._send_cancel(call.running, number)
            raise
        finally:
            self._calls.pop(number, None)
            self._arm_idle_timer()

    def _ensure_running(self) -> _Running:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        if self._running is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.setblocking(False)
            try:
                child = subprocess.Popen(
                    [sys.executable, "-P", "-m", "crio.image.worker", str(theirs.fileno()), self._options.decode()],
                    env=self._environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    cwd="/",
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
            finally:
                theirs.close()
            self._running = _Running(child, ours, asyncio.Lock(), placed=False)
            asyncio.get_running_loop().add_reader(ours, self._readable, self._running)
        return self._running

    async def _enter(self, running: _Running, place: Place) -> None:
        async with running.entering:
            if not running.placed:
                await place.enter(running.child.pid)
                running.placed = True

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in self._environ.items() if name not in _NOT_INHERITED}
        # Each thread would get an arena of its own otherwise, and the memory of a pull would stay with the process.
        kept.setdefault("MALLOC_ARENA_MAX", "2")
        return kept

    def _readable(self, running: _Running) -> None:
        try:
            data = running.connection.recv(MAX_MESSAGE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._lost(running)
            return
        match decode_reply(data):
            case Update(id=number) as update:
                if call := self._calls.get(number):
                    call.on_update(update)
            case Finished(id=number, images=images):
                if (call := self._calls.get(number)) and not call.answer.done():
                    call.answer.set_result(images)
            case Failed(id=number) as failed:
                if (call := self._calls.get(number)) and not call.answer.done():
                    call.answer.set_exception(error_of(failed))

    def _lost(self, running: _Running) -> None:
        """The worker closed its end without having been asked to: a crash, a kill, memory ran out."""
        self._close(running)
        self._scope.spawn("report its end", self._report(running))

    async def _report(self, running: _Running) -> None:
        code = await wait_pid_exit(running.child)
        how = f"exit code {code}" if code >= 0 else f"signal {signal_name(-code)}"
        error = Unavailable(f"cannot finish the pull: the image worker ended by {how}; try again")
        self._fail([call for call in self._calls.values() if call.running is running], error)
        await self._leave(running)

    def _arm_idle_timer(self) -> None:
        if self._running is None or self._calls or self._idle_timer is not None or self._stopped:
            return
        loop = asyncio.get_running_loop()
        self._idle_timer = loop.call_later(self.idle, self._idle_passed)

    def _idle_passed(self) -> None:
        self._idle_timer = None
        running = self._running
        if running is not None and not self._calls:
            self._close(running)
            self._scope.spawn("wait for its end", self._wait_gone(running))

    def _let_go(self, error: CrioError) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        if self._running is not None:
            self._close(self._running)
        self._fail(list(self._calls.values()), error)

    def _close(self, running: _Running) -> None:
        """Closing the socket is what tells the worker to leave."""
        asyncio.get_running_loop().remove_reader(running.connection)
        running.connection.close()
        if self._running is running:
            self._running = None

    async def _wait_gone(self, running: _Running) -> None:
        try:
            async with asyncio.timeout(_LEAVE_SECONDS):
                await wait_pid_exit(running.child)
        except TimeoutError:
            log.warning("the image worker did not leave by itself within %g s", _LEAVE_SECONDS)
            await kill_and_reap(running.child)
        await self._leave(running)

    async def _leave(self, running: _Running) -> None:
        if self._place is not None:
            await self._place.leave(running.child.pid)

    def _fail(self, calls: list[_Call], error: CrioError) -> None:
        for call in calls:
            if not call.answer.done():
                call.answer.set_exception(error)

    def _send_cancel(self, running: _Running | None, number: int) -> None:
        if running is not None and running is self._running:
            try:
                running.connection.send(encode(Cancel(number, "it was cancelled")))
            except OSError:
                log.warning("cannot tell the image worker to cancel a pull")
