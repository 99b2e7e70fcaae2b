"""Starts the zygote, and asks it for monitors."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence

from crio.base.errors import FailedPrecondition, Internal
from crio.base.process import DEFAULT_ENV, kill_and_reap, wait_pid_exit
from crio.conmon.connection import Connection
from crio.conmon.errors import MonitorUnavailable, RuntimeFailed, RuntimeTimeout, sentence
from crio.conmon.packets import Packet, encode, send_encoded
from crio.conmon.spec import ExecSpec, MonitorSpec
from crio.conmon.watch import Monitor

_PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
_START_TIMEOUT = 15.0
_GRACE = 5.0


class ExecProcess:
    """A process that a detached `runtime exec` has started. `master` is its terminal (-1 without one), the caller's."""

    def __init__(self, pid: int, pidfd: int, master: int, connection: Connection) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.master = master
        self._connection = connection

    async def wait(self) -> int:
        """Its exit code, 128 plus the number for a signal, 255 if its monitor was killed."""
        packet = await asyncio.shield(self._connection.exited)
        return packet.number("exit_code", 255) if packet is not None else 255

    def close(self) -> None:
        """Let go of the process and its monitor; `master` is not closed."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        self._connection.close()


class ZygoteClient:
    """The daemon's zygote. If it dies, the next request starts a new one; monitors do not notice either."""

    def __init__(self, python: str = sys.executable) -> None:
        self._python = python
        self._child: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._socket: socket.socket | None = None
        self._starting = asyncio.Lock()
        self._stopped = False

    @property
    def pid(self) -> int:
        """0 if none runs."""
        return self._child.pid if self._child is not None and self._is_up() else 0

    async def start(self) -> None:
        """Start the program and wait until it is ready. MonitorUnavailable if it does not come up."""
        self._stopped = False
        await self._ensure()

    async def stop(self) -> None:
        """End the zygote. Monitors stay."""
        self._stopped = True
        await self._clear()

    async def create(self, spec: MonitorSpec, on_forked: Callable[[int], Awaitable[None]] | None = None) -> Monitor:
        """Create the container under a new monitor: when this returns, the runtime's `create` has succeeded.

        `on_forked(monitor_pid)` is awaited before the runtime is run, e.g. to put the monitor into a systemd scope.
        Raises RuntimeFailed with what the runtime said, RuntimeTimeout, MonitorUnavailable. After an error or a
        cancellation nothing runs any more, but the runtime may have to be told to `delete --force`.
        """
        session = await self._request(spec.packet(hold=on_forked is not None))
        try:
            answer = await self._answer(session, _START_TIMEOUT if on_forked else spec.timeout + _GRACE)
            if on_forked is not None and answer.verb == "forked":
                await on_forked(answer.number("monitor_pid"))
                session.send("go", {})
                answer = await self._answer(session, spec.timeout + _GRACE)
            if answer.verb != "created":
                raise _failure(
                    f"create container {spec.id}", spec.runtime_path, spec.timeout, answer.text("message"), answer
                )
            return Monitor(spec.id, spec.bundle, answer.number("pid"), answer.number("monitor_pid"), session)
        except BaseException:
            await _abandon(session)
            raise

    async def exec(self, spec: ExecSpec, stdio: Sequence[int] = ()) -> ExecProcess:
        """Start a process in a container. `stdio` are the three files for it if it has no terminal; the caller's still.

        Raises as `create`. Without a terminal the runtime's own words are in the pipe of the third file.
        """
        session = await self._request(spec.packet(), stdio)
        try:
            answer = await self._answer(session, spec.timeout + _GRACE)
            if answer.verb != "started" or not answer.fds:
                message = answer.text("message")
                answer.close()
                raise _failure("execute the command", spec.argv[0], spec.timeout, message, answer)
            pidfd, *terminal = answer.fds
            answer.fds = []
            return ExecProcess(answer.number("pid"), pidfd, terminal[0] if terminal else -1, session)
        except BaseException:
            await _abandon(session)
            raise

    async def spawn_pause(self) -> int:
        """Start the first process of a new PID namespace (pause.py), and return its pid. Raises as `create`."""
        session = await self._request(encode("pause", {}), ())
        try:
            answer = await self._answer(session, _START_TIMEOUT)
            if answer.verb != "started":
                raise Internal(f"cannot make a PID namespace: {answer.text('message')}")
            return answer.number("pid")
        finally:
            session.close()

    async def _request(self, packet: bytes, fds: Sequence[int] = ()) -> Connection:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        session = Connection(ours)
        try:
            for last in (False, True):
                await self._ensure()
                try:
                    await self._send(packet, (theirs.fileno(), *fds))
                    return session
                except (BrokenPipeError, ConnectionResetError):
                    if last:
                        raise MonitorUnavailable("cannot start a monitor: the zygote ends at once") from None
                    await self._clear()
            raise AssertionError("unreachable")
        except BaseException:
            session.close()
            raise
        finally:
            theirs.close()

    async def _send(self, packet: bytes, fds: Sequence[int]) -> None:
        assert self._socket is not None
        while True:
            try:
                send_encoded(self._socket, packet, fds)
                return
            except BlockingIOError:
                # Hundreds of requests at once: the zygote needs a moment for each.
                await asyncio.sleep(0.001)

    async def _answer(self, session: Connection, timeout: float) -> Packet:
        try:
            return await session.answer(timeout)
        except TimeoutError:
            raise RuntimeTimeout(f"cannot start a monitor: no answer within {timeout:g} s") from None

    def _is_up(self) -> bool:
        return self._connection is not None and not self._connection.closed.done()

    async def _ensure(self) -> None:
        async with self._starting:
            if self._is_up():
                return
            if self._stopped:
                raise FailedPrecondition("cannot start a monitor: the daemon is stopping")
            await self._clear()
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                argv = [self._python, "-I", "-S", _PROGRAM, str(theirs.fileno())]
                environment = dict(DEFAULT_ENV)
                if "TZ" in os.environ:
                    environment["TZ"] = os.environ["TZ"]
                self._child = subprocess.Popen(
                    argv, env=environment, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), start_new_session=True
                )
            except OSError as error:
                ours.close()
                raise MonitorUnavailable(f"cannot start the zygote: {error}") from None
            finally:
                theirs.close()
            self._socket = ours
            self._connection = Connection(ours)
            try:
                await self._connection.answer(_START_TIMEOUT)
            except (TimeoutError, MonitorUnavailable):
                await self._clear()
                raise MonitorUnavailable("cannot start the zygote: it ends at once; see the daemon's log") from None

    async def _clear(self) -> None:
        if self._connection is not None:
            self._connection.close()
        child, self._child, self._connection, self._socket = self._child, None, None, None
        if child is not None:
            try:
                await asyncio.wait_for(wait_pid_exit(child), _GRACE)
            except TimeoutError:
                await kill_and_reap(child)


def _failure(what: str, runtime: str, timeout: float, message: str, answer: Packet) -> Exception:
    name = os.path.basename(runtime)
    if answer.flag("timed_out"):
        return RuntimeTimeout(f"cannot {what}: {name} was killed after {timeout:g} s without an end")
    if answer.flag("setup"):
        return Internal(f"cannot {what}: {message}")
    return RuntimeFailed(what, name, sentence(message))


async def _abandon(session: Connection) -> None:
    """Make the monitor stop what it does, and wait until it is gone, so that the caller can clean up in peace."""
    session.end_requests()
    try:
        await asyncio.shield(asyncio.wait([session.closed], timeout=_GRACE))
    finally:
        session.close()
