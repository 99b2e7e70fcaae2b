"""The daemon's view of one monitor."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from crio.base.errors import Cancelled, FailedPrecondition, Internal, ResourceExhausted
from crio.base.files import read_bounded
from crio.base.process import wait_readable
from crio.conmon.connection import Connection, connect
from crio.conmon.errors import MonitorGone, MonitorUnavailable
from crio.conmon.exitrecord import ExitRecord
from crio.conmon.packets import Packet
from crio.conmon.record import ATTACH_SOCKET, CONTROL_SOCKET, PID_FILE

if TYPE_CHECKING:
    from crio.conmon.packets import Value

_TIMEOUT = 10.0


class LogState(msgspec.Struct, frozen=True):
    """Whether output is being dropped because the log cannot be written, why, and how many bytes were until now."""

    failing: bool = False
    error: str = ""
    dropped: int = 0

    @classmethod
    def from_packet(cls, packet: Packet) -> LogState:
        return cls(packet.flag("log_failing"), packet.text("log_error"), packet.number("log_dropped"))


class Monitor:
    """A container's monitor. Made by `ZygoteClient.create` for a new one, by `connect` for one that is already there.

    Its end, for whatever reason, is seen at once, because the kernel closes the connection then. `close` when the
    daemon has no more interest; that does nothing to the monitor or the container.
    """

    def __init__(
        self, container_id: str, bundle: str, pid: int, monitor_pid: int, connection: Connection | None
    ) -> None:
        self.id = container_id
        self.bundle = bundle
        self.pid = pid
        """The container's first process, in the host's pid namespace; 0 if unknown."""
        self.monitor_pid = monitor_pid
        """0 if the monitor is gone."""
        self.log = LogState()
        """As it was last told; see `on_log`."""
        self.on_log: Callable[[LogState], None] | None = None
        """Is called when the log becomes unwritable, and when it can be written again."""
        self._connection = connection
        self._record: ExitRecord | None = None
        self._pidfd = -1
        if connection is not None:
            connection.on_log = self._log_changed
            try:
                self._pidfd = os.pidfd_open(monitor_pid)
            except ProcessLookupError:
                pass

    @classmethod
    async def connect(cls, container_id: str, bundle: str) -> Monitor:
        """The monitor that was started for `bundle` earlier, by this daemon or another one.

        It may have ended since, with or without an exit record; `exited` tells. MonitorUnavailable if it hangs.
        """
        pid = _read_pid(f"{bundle}/{PID_FILE}")
        try:
            connection = Connection(connect(bundle, CONTROL_SOCKET))
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            connection = None
        except OSError as error:
            # Whoever is asked for the hundredth time and has never answered (EAGAIN) has not ended for that.
            raise MonitorUnavailable(
                f"cannot reach the monitor of container {container_id}: {error.strerror}"
            ) from None
        if connection is not None:
            try:
                status = await connection.request_both(("watch", {"log_news": True}), ("status", {}), _TIMEOUT)
                monitor = cls(container_id, bundle, status.number("pid"), status.number("monitor_pid"), connection)
                monitor.log = LogState.from_packet(status)
                return monitor
            except MonitorGone:
                # It ended between our looks.
                connection.close()
            except BaseException:
                connection.close()
                raise
        gone = cls(container_id, bundle, pid, 0, None)
        gone._record = ExitRecord.read(bundle) or ExitRecord.lost()
        return gone

    def _log_changed(self, packet: Packet) -> None:
        self.log = LogState.from_packet(packet)
        if self.on_log is not None:
            self.on_log(self.log)

    @property
    def exited(self) -> ExitRecord | None:
        """How the container ended, None while it has not."""
        connection = self._connection
        if self._record is None and connection is not None and connection.exited.done():
            packet = connection.exited.result()
            if packet is not None:
                self._record = ExitRecord.from_packet(packet)
            else:
                self._record = ExitRecord.read(self.bundle) or ExitRecord.lost()
        return self._record

    async def wait(self) -> ExitRecord:
        """Wait until the container has ended, or its monitor has (then the record says so)."""
        if self._record is None and self._connection is not None:
            await asyncio.shield(self._connection.exited)
        record = self.exited
        if record is None:
            raise Cancelled(f"cannot wait for container {self.id}: the daemon has let go of its monitor")
        return record

    async def wait_gone(self, timeout: float) -> bool:
        """Wait until the monitor's process has left, so that its cgroup can be removed; False after `timeout` s."""
        if self._pidfd < 0:
            return True
        # Not by the connection: a process closes its files some time before it leaves its cgroup.
        try:
            async with asyncio.timeout(timeout):
                await wait_readable(self._pidfd)
            return True
        except TimeoutError:
            return False

    async def reopen_log(self) -> None:
        """Go on in a new file at the log's path. All output read until then is in the old file."""
        await self._ask("reopen-log", {})

    async def resize(self, height: int, width: int) -> None:
        await self._ask("resize", {"rows": height, "columns": width})

    async def close_stdin(self) -> None:
        """End the container's stdin after what was written into it."""
        await self._ask("close-stdin", {})

    async def status(self) -> Packet:
        """Facts for people and metrics: pid, attached, bytes_read, log_dropped, log_error, oom_kills, …"""
        return await self._ask("status", {})

    def open_attach(self) -> socket.socket:
        """A new attach client: non-blocking SOCK_SEQPACKET, see attach.py for its framing. The caller closes it."""
        try:
            return connect(self.bundle, ATTACH_SOCKET)
        except OSError as error:
            raise FailedPrecondition(f"cannot attach to container {self.id}: {error.strerror}") from None

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    async def _ask(self, verb: str, fields: Mapping[str, Value]) -> Packet:
        connection = self._connection
        ended = FailedPrecondition(f"cannot {verb} of container {self.id}: it has ended")
        if connection is None or self.exited is not None:
            raise ended
        try:
            answer = await connection.request(verb, fields, _TIMEOUT)
        except MonitorGone:
            # The container ends at this very moment, and how is on its way.
            await asyncio.shield(connection.exited)
            if self.exited is None:
                raise
            raise ended from None
        if answer.verb != "ok":
            raise Internal(f"cannot {verb} of container {self.id}: {answer.text('message')}")
        return answer


def _read_pid(path: str) -> int:
    try:
        return int(read_bounded(path, 32))
    except (OSError, ValueError, ResourceExhausted):
        return 0
