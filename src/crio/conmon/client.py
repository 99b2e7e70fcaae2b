"""Starts the zygote, and asks it for monitors."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence

from crio.base.errors import FailedPrecondition, Internal
from crio.base.process import DEFAULT_ENV, kill_and_reap, wait_pid_exit, wait_readable
from crio.conmon.connection import Connection
from crio.conmon.errors import MonitorGone, MonitorUnavailable, RuntimeFailed, RuntimeTimeout, sentence
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
        self._sockets: tuple[socket.socket, socket.socket] | None = None
        """To the zygote itself, and to the monitor that waits for a request."""
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

    async def create(
        self, spec: MonitorSpec, on_forked: Callable[[int], Awaitable[None]] | None = None, *, program: int = -1
    ) -> Monitor:
        """Create the container under a new monitor: when this returns, the runtime's `create` has succeeded.

        `program` is the runtime's file, if it is not to be run by its path; the caller's. `on_forked(monitor_pid)` is
        awaited before the runtime is run, e.g. to put the monitor into a systemd scope.
        Raises RuntimeFailed with what the runtime said, RuntimeTimeout, MonitorUnavailable, Internal. After an error or
        a cancellation nothing runs any more, but the runtime may have to be told to `delete --force`.
        """
        # Without its id: the kubelet makes an event of each message, and counts those that are alike.
        what = "create container"
        asker, answer = await self._ask_for_monitor(spec, program, hold=on_forked is not None)
        try:
            if on_forked is not None and answer.verb == "forked":
                await on_forked(answer.number("monitor_pid"))
                asker.send("go", {})
                answer = await self._answer(asker, spec.timeout + _GRACE)
            if answer.verb != "created" or len(answer.fds) != 1:
                await _wait_gone(answer)
                raise _failure(what, spec.runtime_path, spec.timeout, answer)
            connection = Connection(socket.socket(fileno=answer.fds[0]))
            return Monitor(spec.id, spec.bundle, answer.number("pid"), answer.number("monitor_pid"), connection)
        except BaseException:
            await _abandon(asker)
            raise
        finally:
            asker.close()

    async def _ask_for_monitor(self, spec: MonitorSpec, program: int, *, hold: bool) -> tuple[Connection, Packet]:
        """The connection to the monitor's starter, and its first answer."""
        for last in (False, True):
            asker = await self._request(spec.packet(hold=hold), _given(program), self._requests)
            try:
                return asker, await self._answer(asker, _START_TIMEOUT if hold else spec.timeout + _GRACE)
            except MonitorUnavailable:
                asker.close()
                if last or self._is_up():
                    raise
                # The zygote and the waiting monitor were killed before anyone read the request.
            except BaseException:
                await _abandon(asker)
                raise
        raise AssertionError("unreachable")

    async def _ask_for_exec(self, spec: ExecSpec, fds: Sequence[int]) -> Connection:
        """The connection to a monitor that is there. Asked for twice if it is killed before it has done anything."""
        for last in (False, True):
            session = await self._request(spec.packet(), fds, self._control)
            try:
                answer = await self._answer(session, _START_TIMEOUT)
                answer.close()
                return session
            except MonitorGone:
                session.close()
                if last:
                    raise
            except BaseException:
                await _abandon(session)
                raise
        raise AssertionError("unreachable")

    async def exec(self, spec: ExecSpec, stdio: Sequence[int] = (), *, program: int = -1) -> ExecProcess:
        """Start a process in a container. `stdio` are the three files for it if it has no terminal; the caller's still.

        `program` and what is raised as for `create`. Without a terminal the runtime's own words are in the pipe of the
        third file.
        """
        session = await self._ask_for_exec(spec, (*stdio, *_given(program)))
        try:
            answer = await self._answer(session, spec.timeout + _GRACE)
            if answer.verb != "started" or not answer.fds:
                answer.close()
                raise _failure("execute the command", spec.argv[0], spec.timeout, answer)
            pidfd, *terminal = answer.fds
            answer.fds = []
            return ExecProcess(answer.number("pid"), pidfd, terminal[0] if terminal else -1, session)
        except BaseException:
            await _abandon(session)
            raise

    async def spawn_pause(self, keep: Callable[[int], None], user_namespace: str = "", highest_id: int = 0) -> None:
        """Start the first process of a new PID namespace (pause.py). Raises as `create`.

        `keep` is called with its pid and must write it down; the process ends if the daemon does before that.
        `user_namespace` is the file of the pod's own, if it has one, and `highest_id` the last id in it.
        """
        fds = [os.open(user_namespace, os.O_RDONLY | os.O_CLOEXEC)] if user_namespace else []
        try:
            session = await self._request(encode("pause", {"nobody": highest_id}), fds, self._control)
        finally:
            for fd in fds:
                os.close(fd)
        try:
            answer = await self._answer(session, _START_TIMEOUT)
            if answer.verb != "started":
                raise Internal(f"cannot make a PID namespace: {answer.text('message')}")
            keep(answer.number("pid"))
            session.send("go", {})
        finally:
            session.close()

    async def _request(
        self, packet: bytes, fds: Sequence[int], channel: Callable[[], Awaitable[socket.socket]]
    ) -> Connection:
        """Send a request with a new connection for the answers, which is returned."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        session = Connection(ours)
        try:
            for last in (False, True):
                sock = await channel()
                try:
                    await _send(sock, packet, (theirs.fileno(), *fds))
                    return session
                except (BrokenPipeError, ConnectionResetError):
                    # It has died; the event loop may not have seen it yet.
                    if self._sockets is not None and sock in self._sockets:
                        await self._clear()
                    if last:
                        raise MonitorUnavailable("cannot start a monitor: the zygote ends at once") from None
            raise AssertionError("unreachable")
        except BaseException:
            session.close()
            raise
        finally:
            theirs.close()

    async def _requests(self) -> socket.socket:
        return (await self._ensure())[1]

    async def _control(self) -> socket.socket:
        return (await self._ensure())[0]

    async def _answer(self, session: Connection, timeout: float) -> Packet:
        try:
            return await session.answer(timeout)
        except TimeoutError:
            raise RuntimeTimeout(f"cannot start a monitor: no answer within {timeout:g} s") from None

    def _is_up(self) -> bool:
        return self._connection is not None and not self._connection.closed.done()

    async def _ensure(self) -> tuple[socket.socket, socket.socket]:
        async with self._starting:
            if self._sockets is not None and self._is_up():
                return self._sockets
            if self._stopped:
                raise FailedPrecondition("cannot start a monitor: the daemon is stopping")
            await self._clear()
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            our_requests, their_requests = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            our_requests.setblocking(False)
            self._sockets = ours, our_requests
            self._connection = Connection(ours)
            pass_fds = (theirs.fileno(), their_requests.fileno())
            argv = [self._python, "-I", "-S", _PROGRAM, *map(str, pass_fds)]
            # What is bound later is written later, and then by each monitor for itself.
            environment = {**DEFAULT_ENV, "LD_BIND_NOW": "1"}
            if "TZ" in os.environ:
                environment["TZ"] = os.environ["TZ"]
            try:
                self._child = subprocess.Popen(
                    argv, env=environment, stdin=subprocess.DEVNULL, pass_fds=pass_fds, start_new_session=True
                )
            except OSError as error:
                raise MonitorUnavailable(f"cannot start the zygote: {error}") from None
            finally:
                theirs.close()
                their_requests.close()
            try:
                await self._connection.answer(_START_TIMEOUT)
            except (TimeoutError, MonitorUnavailable):
                await self._clear()
                raise MonitorUnavailable("cannot start the zygote: it ends at once; see the daemon's log") from None
            return self._sockets

    async def _clear(self) -> None:
        connection, sockets, child = self._connection, self._sockets, self._child
        self._connection = self._sockets = self._child = None
        if connection is not None:
            connection.close()
        if sockets is not None:
            sockets[1].close()
        if child is not None:
            try:
                await asyncio.wait_for(wait_pid_exit(child), _GRACE)
            except TimeoutError:
                await kill_and_reap(child)


def _given(fd: int) -> Sequence[int]:
    return (fd,) if fd >= 0 else ()


async def _send(sock: socket.socket, packet: bytes, fds: Sequence[int]) -> None:
    while True:
        if sock.fileno() < 0:
            raise BrokenPipeError("another request has found that nobody reads it any more")
        try:
            send_encoded(sock, packet, fds)
            return
        except BlockingIOError:
            # Hundreds of requests at once: the zygote needs a moment for each.
            await asyncio.sleep(0.001)


async def _wait_gone(answer: Packet) -> None:
    """With a `failed` answer comes a pidfd of the monitor: its end is not far, and its cgroup is free then."""
    try:
        if answer.fds:
            async with asyncio.timeout(_GRACE):
                await wait_readable(answer.fds[0])
    except TimeoutError:
        pass
    finally:
        answer.close()


def _failure(what: str, runtime: str, timeout: float, answer: Packet) -> Exception:
    name = os.path.basename(runtime)
    message = answer.text("message")
    if answer.flag("timed_out"):
        return RuntimeTimeout(f"cannot {what}: {name} was killed after {timeout:g} s without an end")
    if answer.flag("setup"):
        return Internal(f"cannot {what}: {message}")
    return RuntimeFailed(what, name, sentence(message))


async def _abandon(session: Connection) -> None:
    """Make the other side stop what it does, and wait until it is gone, so that the caller can clean up in peace."""
    session.end_requests()
    try:
        await asyncio.shield(asyncio.wait([session.closed], timeout=_GRACE))
    finally:
        session.close()
