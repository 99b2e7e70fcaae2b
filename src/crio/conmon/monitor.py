"""The monitor of one container while nothing happens, which is most of its life.

    made ahead -> a child (starter.py) waits for a request and creates the container -> sleeps
               -> first event -> serves (serving.py) -> exit record

There is one monitor per container, so what counts is the memory that each of them has written to, by 4 KiB pages: in a
forked Python process nearly every object that is used costs a page, because its reference count is written. So this
part is a handful of system calls, straight to the C library: all files are made by the starter, which shares the table
of open files and takes its pages with it when it ends, and everything else is built when the first event comes. The
zygote has run all of it a few times before it forks (`rehearse`), so that the interpreter's caches are filled in shared
memory.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal

from crio.conmon import children
from crio.conmon.files import EPOLL, read_facts
from crio.conmon.serving import Service
from crio.conmon.starter import CREATED, CREATED_WITH_HOST_PIDS, FAILED, Starter
from crio.linux.clone import CLONE_FILES, Clone, libc
from crio.linux.prctl import PR_SET_CHILD_SUBREAPER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_SIGCHLD = int(signal.SIGCHLD)
_SIG_DFL = 0
_REHEARSALS = 12
_clone = Clone(CLONE_FILES)
_prctl = libc.prctl
_setsid = libc.setsid
_signal = libc.signal
_waitpid = libc.waitpid
_epoll_wait = libc.epoll_wait
_status = ctypes.c_int()
_status_reference = ctypes.byref(_status)
_event = ctypes.create_string_buffer(64)
"""Room for one event, whatever its size is on this architecture."""


def run(requests: int, taken: int, me: ctypes.c_int) -> NoReturn:
    """Be a monitor: wait until the daemon asks for a container on the socket `requests`, and stay until it has ended.

    A byte is written to `taken` when there is a request, so that the zygote can make the next one. `me` is the own pid.
    """
    try:
        if sleep(Starter, requests, taken, me, EPOLL, 1, -1) != FAILED:
            _serve()
    finally:
        os._exit(0)


def sleep(
    starter: type[Starter], requests: int, taken: int, me: ctypes.c_int, epoll: int, subreaper: int, timeout: int
) -> int:
    """In a session of its own have a container created, and sleep until something happens. FAILED if there is none."""
    _setsid()
    _signal(_SIGCHLD, _SIG_DFL)
    _prctl(PR_SET_CHILD_SUBREAPER, subreaper, 0, 0, 0)
    child = _clone()
    if child == 0:
        _be(starter, requests, taken, me.value)
    _status.value = FAILED << 8
    _waitpid(child, _status_reference, 0)
    status = _status.value
    if status == CREATED_WITH_HOST_PIDS << 8:
        # In the host's pid namespace the container's orphans come here, at any time.
        children.forget()
        children.reap_all()
    elif status != CREATED:
        return FAILED
    _epoll_wait(epoll, _event, 1, timeout)
    return CREATED


def _be(starter: type[Starter], requests: int, taken: int, monitor: int) -> NoReturn:
    """In the new process, which ends in there if all goes well."""
    try:
        starter(requests, taken, monitor).run()
    finally:
        os._exit(FAILED)


def _serve() -> None:
    files, about = read_facts()
    service = Service(files, about, select.epoll.fromfd(EPOLL))
    try:
        service.run()
    except BaseException:
        service.leave_traceback()
        raise


class _Understudy(Starter):
    """Starts nothing."""

    def run(self) -> None:
        os._exit(CREATED)


def rehearse() -> None:
    """In the zygote: do what each monitor will do, until the interpreter has nothing left to learn of it."""
    with select.epoll() as epoll:
        for _ in range(_REHEARSALS):
            sleep(_Understudy, -1, -1, ctypes.c_int(), epoll.fileno(), 0, 0)
