"""Units of systemd, over D-Bus: scopes around processes that exist, and slices (org.freedesktop.systemd1(5)).

The connection is made when it is needed and closed when it is idle: systemd tells everybody on its private socket about
every unit of the machine, and the daemon has no use for that.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from crio.base.errors import CrioError, DeadlineExceeded, FailedPrecondition, Internal, Unavailable
from crio.rpc.dbus import DbusConnection, DbusRefused
from crio.wire.dbus import Message, Variant

log = logging.getLogger(__name__)

PRIVATE_SOCKET = "/run/systemd/private"
BUS_SOCKET = "/run/dbus/system_bus_socket"
_RUNS = "/run/systemd/system"
"""Is there exactly if systemd is the init process (sd_booted(3))."""

_SERVICE = "org.freedesktop.systemd1"
_OBJECT = "/org/freedesktop/systemd1"
_MANAGER = "org.freedesktop.systemd1.Manager"
_EXISTS = "org.freedesktop.systemd1.UnitExists"
_NOT_LOADED = "org.freedesktop.systemd1.NoSuchUnit"
_NO_PROCESS = frozenset({"org.freedesktop.DBus.Error.UnixProcessIdUnknown", "System.Error.ESRCH"})
_IDLE = 10.0
_JOB_TIMEOUT = 30.0


def systemd_runs() -> bool:
    """Whether systemd manages this machine."""
    return os.path.isdir(_RUNS)


class Systemd:
    """Asks systemd for units. For use from one event loop."""

    def __init__(self, private_socket: str = PRIVATE_SOCKET, bus_socket: str = BUS_SOCKET) -> None:
        self._private_socket = private_socket
        self._bus_socket = bus_socket
        self._connection: DbusConnection | None = None
        self._connecting = asyncio.Lock()
        self._jobs: dict[str, asyncio.Future[str]] = {}
        self._users = 0
        self._closing: asyncio.TimerHandle | None = None

    async def start_scope(
        self, name: str, slice_name: str, pids: Sequence[int], properties: Mapping[str, Variant] | None = None
    ) -> None:
        """Put processes into a new scope unit in a slice; the slice is made if it is not there.

        A unit of that name that failed earlier is replaced. Raises ProcessLookupError if a process has ended,
        DbusRefused if such a scope runs, FailedPrecondition without systemd, Unavailable and DeadlineExceeded.
        """
        given = {
            "Slice": Variant("s", slice_name),
            "PIDs": Variant("au", list(pids)),
            "CollectMode": Variant("s", "inactive-or-failed"),
            **(properties or {}),
        }
        arguments: list[object] = [name, "fail", list(given.items()), []]
        try:
            try:
                await self._job(name, "StartTransientUnit", "ssa(sv)a(sa(sv))", arguments)
            except DbusRefused as error:
                if error.name != _EXISTS:
                    raise
                await self._call("ResetFailedUnit", "s", (name,))
                await self._job(name, "StartTransientUnit", "ssa(sv)a(sa(sv))", arguments)
        except DbusRefused as error:
            if error.name in _NO_PROCESS:
                raise ProcessLookupError(name) from None
            raise

    async def start(self, unit: str) -> None:
        """Start a unit, for instance a slice; fine if it is active."""
        await self._job(unit, "StartUnit", "ss", (unit, "replace"))

    async def stop(self, unit: str) -> None:
        """Stop a unit and the processes in it; fine if there is none."""
        try:
            await self._job(unit, "StopUnit", "ss", (unit, "replace"))
        except DbusRefused as error:
            if error.name != _NOT_LOADED:
                raise

    def close(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _job(self, unit: str, member: str, signature: str, arguments: Sequence[object]) -> None:
        """Call a method that queues a job, and wait for the job."""
        while (other := self._jobs.get(unit)) is not None:
            await asyncio.wait([other])
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._jobs[unit] = done
        try:
            async with asyncio.timeout(_JOB_TIMEOUT):
                connection = await self._use()
                await connection.call(_SERVICE, _OBJECT, _MANAGER, member, signature, arguments)
                result = await _result(done, connection)
        except TimeoutError:
            raise DeadlineExceeded(
                f"cannot start unit {unit}: systemd did not do it within {_JOB_TIMEOUT:g} s; see systemctl list-jobs"
            ) from None
        finally:
            del self._jobs[unit]
            done.cancel()
            self._unuse()
        if result not in ("done", "skipped"):
            raise Internal(f"cannot start unit {unit}: its job ended with {result!r}; see journalctl -u {unit}")

    async def _call(self, member: str, signature: str, arguments: Sequence[object]) -> None:
        try:
            connection = await self._use()
            await connection.call(_SERVICE, _OBJECT, _MANAGER, member, signature, arguments)
        finally:
            self._unuse()

    # The connection

    async def _use(self) -> DbusConnection:
        self._users += 1
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        async with self._connecting:
            if self._connection is None or self._connection.closed:
                self._connection = await self._connect()
            return self._connection

    def _unuse(self) -> None:
        self._users -= 1
        if self._users == 0:
            self._closing = asyncio.get_running_loop().call_later(_IDLE, self.close)

    async def _connect(self) -> DbusConnection:
        try:
            return await DbusConnection.connect(self._private_socket, self._signal, bus=False)
        except (OSError, CrioError) as error:
            log.debug("cannot use %s: %s", self._private_socket, error)
        try:
            connection = await DbusConnection.connect(self._bus_socket, self._signal, bus=True)
        except OSError as error:
            raise FailedPrecondition(
                f"cannot talk to systemd: {os.strerror(error.errno or 0)} ({self._bus_socket}); does systemd run this "
                'machine? If not, set cgroup_manager = "cgroupfs"'
            ) from None
        rule = f"type='signal',sender='{_SERVICE}',interface='{_MANAGER}',member='JobRemoved'"
        bus = "org.freedesktop.DBus"
        await connection.call(bus, "/org/freedesktop/DBus", bus, "AddMatch", "s", (rule,))
        await connection.call(_SERVICE, _OBJECT, _MANAGER, "Subscribe")
        return connection

    def _signal(self, message: Message) -> None:
        if message.member != "JobRemoved" or message.interface != _MANAGER or not self._jobs:
            return
        _, _, unit, result = message.arguments()
        done = self._jobs.get(unit)
        if done is not None and not done.done():
            done.set_result(result)


async def _result(done: asyncio.Future[str], connection: DbusConnection) -> str:
    """How the job ended. Raises Unavailable if that cannot be heard any more: systemd replaced itself."""
    lost = asyncio.ensure_future(connection.lost.wait())
    waits: list[asyncio.Future[Any]] = [done, lost]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        lost.cancel()
    if not done.done():
        raise Unavailable("cannot learn how a job of systemd ended: it closed the connection")
    return done.result()
