"""The monitor of one container while nothing happens, which is most of its life.

    forked -> a child (starter.py) creates the container -> sleeps -> first event -> serves (serving.py) -> exit record

There is one monitor per container, so what counts is the memory that each of them has written to, by 4 KiB pages: in a
forked Python process nearly every object that is used costs a page, because its reference count is written. So this
part is one function over integers and bytes that calls little but C code, the creation happens in a child that takes
its pages with it when it ends, and everything else is built when the first event comes. The zygote has run this
function a few times before it forks (`rehearse`), so that the interpreter's caches are filled in shared memory.
"""

from __future__ import annotations

import _socket
import os
import select
import signal
import sys

from crio.conmon.children import on_sigchld
from crio.conmon.files import Files
from crio.conmon.packets import encode
from crio.conmon.serving import Service
from crio.conmon.starter import Starter
from crio.linux.libc import libc
from crio.linux.prctl import PR_SET_CHILD_SUBREAPER

_SIGCHLD = int(signal.SIGCHLD)
_SIG_DFL = 0
_AF_UNIX = int(_socket.AF_UNIX)
_LISTENER = _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
_EVENT = os.EFD_CLOEXEC | os.EFD_NONBLOCK
_READ = select.EPOLLIN
_PRIORITY = select.EPOLLPRI
_MAX_FACTS = 4096
_REHEARSALS = 12
_epoll = select.epoll
_prctl = libc.prctl
_signal = libc.signal
_socket_call = libc.socket


def run(request: bytes, session: int) -> None:
    """Be the monitor for a `monitor` packet, until the container is gone. `session` is the connection to the daemon."""
    woken = sleep(request, session, Starter, 1, None)
    if woken is not None:
        Service(*woken).run()


def sleep(
    request: bytes, session: int, starter: type[Starter], subreaper: int, timeout: float | None
) -> tuple[bytes, bytes, Files] | None:
    """Have the container created, and sleep until something happens.

    The request, what the starter found out, and the open files; None if there is no container.
    """
    # Straight to the C library: the signal module's wrappers would touch a good part of the enum module.
    _signal(_SIGCHLD, _SIG_DFL)
    _prctl(PR_SET_CHILD_SUBREAPER, subreaper, 0, 0, 0)
    control = _socket_call(_AF_UNIX, _LISTENER, 0)
    attach = _socket_call(_AF_UNIX, _LISTENER, 0)
    oom_event = os.eventfd(0, _EVENT)
    oom_counter = stdin = stdin_read = stdout = stdout_write = stderr = stderr_write = -1
    pair = None
    if b"\0terminal=1" in request:
        pair = _socket.socketpair(_AF_UNIX, _socket.SOCK_SEQPACKET)
    else:
        stdout, stdout_write = os.pipe()
        stderr, stderr_write = os.pipe()
        if b"\0stdin=1" in request:
            stdin_read, stdin = os.pipe()
    facts_read, facts_write = os.pipe()
    child = os.fork()
    if child == 0:
        starter(
            request,
            session=session,
            control=control,
            attach=attach,
            oom_event=oom_event,
            stdio=(stdin_read, stdout_write, stderr_write),
            errors=stderr,
            facts=facts_write,
            heir=pair[1] if pair else None,
        ).run()
        os._exit(0)
    os.close(facts_write)
    if stdout_write >= 0:
        os.close(stdout_write)
        os.close(stderr_write)
    if stdin_read >= 0:
        os.close(stdin_read)
    facts = os.read(facts_read, _MAX_FACTS)
    os.close(facts_read)
    if facts and pair:
        stdout, stdin = _take_terminal(pair, request)
    os.waitpid(child, 0)
    if not facts:
        return None
    pid, host_pids, cgroup_version, counter = facts.split(b"\0")
    if host_pids == b"1":
        # In the host's pid namespace the container's orphans come here, at any time.
        signal.signal(_SIGCHLD, on_sigchld)
    pidfd = os.pidfd_open(int(pid))
    epoll = _epoll()
    if cgroup_version == b"1":
        epoll.register(oom_event, _READ)
    elif cgroup_version == b"2":
        oom_counter = os.open(counter, os.O_RDONLY | os.O_CLOEXEC)
        epoll.register(oom_counter, _PRIORITY)
    epoll.register(pidfd, _READ)
    epoll.register(session, _READ)
    epoll.register(control, _READ)
    epoll.register(attach, _READ)
    epoll.register(stdout, _READ)
    if stderr >= 0:
        epoll.register(stderr, _READ)
    epoll.poll(timeout)
    return (
        request,
        facts,
        Files(epoll, session, control, attach, stdin, stdout, stderr, pidfd, oom_counter, oom_event),
    )


def _take_terminal(pair: tuple[_socket.socket, _socket.socket], request: bytes) -> tuple[int, int]:
    """The master side from the starter, and a duplicate for the container's input (-1 without)."""
    ours, theirs = pair
    theirs.close()
    _, control, _, _ = ours.recvmsg(1, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
    ours.close()
    master = int.from_bytes(control[0][2][:4], sys.byteorder)
    return master, os.dup(master) if b"\0stdin=1" in request else -1


class _Understudy(Starter):
    """Starts nothing, and takes the process itself for the container."""

    def run(self) -> None:
        os.write(self.facts, b"%d\0000\0000\0" % os.getppid())


def rehearse() -> None:
    """In the zygote: do what each monitor will do, until the interpreter has nothing left to learn of it."""
    request = encode("monitor", {})
    for _ in range(_REHEARSALS):
        session, other = os.pipe()
        woken = sleep(request, session, _Understudy, 0, 0)
        if woken is not None:
            woken[2].close()
        os.close(other)
