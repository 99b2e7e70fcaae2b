"""The monitor of one container: the parent that reaps it, which sleeps for most of its life.

    made ahead -> a child (starter.py) waits for a request and creates the container -> sleeps
               -> an event -> a child (serving.py) serves until all is quiet -> sleeps -> ... -> the container's end

There is one monitor per container, so what counts is the memory that each of them has written to, by 4 KiB pages: in a
forked Python process nearly every object that is used costs a page, because its reference count is written. So this
part is a handful of system calls, straight to the C library. All else is done by children that share the table of open
files and take their pages with them when they end. The zygote has run all of it a few times before it forks
(`rehearse`), so that the interpreter's caches are filled in shared memory.

Nothing but the container's end ends the monitor; only SIGKILL can.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal

from crio.conmon.files import EPOLL, FACTS, PID_AT, REAPED, STATUS_AT, Facts, close_strays
from crio.conmon.serving import Service
from crio.conmon.starter import CREATED, CREATED_WITH_HOST_PIDS, FAILED, Starter
from crio.linux.clone import CLONE_FILES, Clone, libc
from crio.linux.prctl import PR_SET_CHILD_SUBREAPER, set_parent_death_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

AT_REST, OVER = 3, 4
"""How a server ends: the next event needs another one, or the container has ended and all is done."""

_SIGCHLD = int(signal.SIGCHLD)
_SIG_DFL = 0
_WNOHANG = int(os.WNOHANG)
_INT = 4
_MAX_FAILURES = 3
_REHEARSALS = 12
_clone = Clone(CLONE_FILES)
_prctl = libc.prctl
_setsid = libc.setsid
_signal = libc.signal
_waitpid = libc.waitpid
_epoll_wait = libc.epoll_wait
_pread = libc.pread
_pwrite = libc.pwrite
_write = libc.write
_status = ctypes.c_int()
_status_reference = ctypes.byref(_status)
_container = ctypes.c_int()
_container_reference = ctypes.byref(_container)
_one = ctypes.c_uint64(1)
_one_reference = ctypes.byref(_one)
_event = ctypes.create_string_buffer(64)
"""Room for one event, whatever its size is on this architecture."""


def run(requests: int, taken: int, me: ctypes.c_int) -> NoReturn:
    """Be a monitor: wait until the daemon asks for a container on the socket `requests`, and stay until it has ended.

    A byte is written to `taken` when there is a request, so that the zygote can make the next one. `me` is the own pid.
    """
    try:
        if create(Starter, requests, taken, me, 1) != FAILED:
            # If there is no child to be had (a pod may have reached its limit of them), this process serves for once.
            while not keep(Server, me, EPOLL, FACTS, REAPED, -1) and not _serve(me.value):
                pass
    finally:
        os._exit(0)


def create(starter: type[Starter], requests: int, taken: int, me: ctypes.c_int, subreaper: int) -> int:
    """In a session of its own have a container created by a child. FAILED if there is none."""
    _setsid()
    _signal(_SIGCHLD, _SIG_DFL)
    _prctl(PR_SET_CHILD_SUBREAPER, subreaper, 0, 0, 0)
    child = _clone()
    if child == 0:
        _be_starter(starter, requests, taken, me.value)
    _status.value = FAILED << 8
    _waitpid(child, _status_reference, 0)
    status = _status.value
    if status == CREATED_WITH_HOST_PIDS << 8:
        # In the host's pid namespace the container's orphans come here, at any time.
        signal.signal(signal.SIGCHLD, _wake)
    elif status != CREATED:
        return FAILED
    return CREATED


def keep(server: type[Server], me: ctypes.c_int, epoll: int, facts: int, reaped: int, timeout: int) -> bool:
    """Sleep until something happens, have it served by a child, and so on; True once the container has ended.

    False if no child can be had, or if they fail.
    """
    _pread(facts, _container_reference, _INT, PID_AT)
    container = _container.value
    failures = 0
    while failures < _MAX_FAILURES:
        if _epoll_wait(epoll, _event, 1, timeout) < 0:
            while (ended := _waitpid(-1, _status_reference, _WNOHANG)) > 0:
                if ended == container:
                    _tell(facts, reaped)
            continue
        child = _clone()
        if child == 0:
            _be_server(server, me.value)
        if child < 0:
            return False
        while (ended := _waitpid(-1, _status_reference, 0)) != child:
            if ended == container:
                _tell(facts, reaped)
        status = _status.value
        if status == OVER << 8:
            return True
        if status != AT_REST << 8:
            failures += 1
            _clear_up(facts)
    return False


def _wake(_signal: int, _frame: object) -> None:
    """That there is a handler makes epoll_wait(2) return."""


def _tell(facts: int, reaped: int) -> None:
    """A server, now or later, how the container has ended."""
    _pwrite(facts, _status_reference, _INT, STATUS_AT)
    _write(reaped, _one_reference, 8)


def _clear_up(facts: int) -> None:
    """After a server that was killed or has failed; the next begins where that one had begun."""
    known = Facts.read(facts)
    close_strays(known.open_files())


def _be_starter(starter: type[Starter], requests: int, taken: int, monitor: int) -> NoReturn:
    """In the new process, which ends in there if all goes well."""
    try:
        starter(requests, taken, monitor).run()
    finally:
        os._exit(FAILED)


def _be_server(server: type[Server], monitor: int) -> NoReturn:
    try:
        server(monitor).run()
    finally:
        os._exit(FAILED)


class Server:
    """Serves the monitor whose pid is `monitor`, as a child of it."""

    def __init__(self, monitor: int) -> None:
        self._monitor = monitor

    def run(self) -> None:
        set_parent_death_signal(signal.SIGKILL)
        if os.getppid() == self._monitor:
            os._exit(OVER if _serve(self._monitor) else AT_REST)


def _serve(monitor: int) -> bool:
    service = Service(Facts.read(), monitor, select.epoll.fromfd(EPOLL))
    try:
        return service.run()
    except BaseException:
        service.leave_traceback()
        raise


class _StarterUnderstudy(Starter):
    """Starts nothing."""

    def run(self) -> None:
        os._exit(CREATED)


class _ServerUnderstudy(Server):
    """Serves nobody."""

    def run(self) -> None:
        os._exit(OVER)


def rehearse() -> None:
    """In the zygote: do what each monitor will do, until the interpreter has nothing left to learn of it."""
    me = ctypes.c_int()
    with select.epoll() as epoll:
        for _ in range(_REHEARSALS):
            create(_StarterUnderstudy, -1, -1, me, 0)
            keep(_ServerUnderstudy, me, epoll.fileno(), -1, -1, 0)
