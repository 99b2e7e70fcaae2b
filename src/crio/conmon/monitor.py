"""The monitor of one container while nothing happens, which is most of its life.

    forked ahead -> a child (starter.py) waits for a request and creates the container -> sleeps
                 -> first event -> serves (serving.py) -> exit record

There is one monitor per container, so what counts is the memory that each of them has written to, by 4 KiB pages: in a
forked Python process nearly every object that is used costs a page, because its reference count is written. So this
part is one function over integers and bytes that calls little but C code, the creation happens in a child that takes
its pages with it when it ends, and everything else is built when the first event comes. The zygote has run this
function a few times before it forks (`rehearse`), so that the interpreter's caches are filled in shared memory.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import sys

from crio.conmon.children import on_sigchld
from crio.conmon.files import Files
from crio.conmon.serving import Service
from crio.conmon.starter import Starter
from crio.linux.libc import libc
from crio.linux.prctl import PR_SET_CHILD_SUBREAPER

_SIGCHLD = int(signal.SIGCHLD)
_SIG_DFL = 0
_AF_UNIX = int(socket.AF_UNIX)
_SEQPACKET = int(socket.SOCK_SEQPACKET) | socket.SOCK_CLOEXEC
_LISTENER = _SEQPACKET | socket.SOCK_NONBLOCK
_EVENT = os.EFD_CLOEXEC | os.EFD_NONBLOCK
_READ = select.EPOLLIN
_PRIORITY = select.EPOLLPRI
_MAX_FACTS = 128 * 1024
_REHEARSALS = 12
_epoll = select.epoll
# Straight to the C library: the modules' own functions would touch a good part of socket, signal and enum.
_prctl = libc.prctl
_signal = libc.signal
_socket = libc.socket
_socketpair = libc.socketpair
_pair = (ctypes.c_int * 2)()


def run(requests: int, taken: int) -> None:
    """Be a monitor: wait until the daemon asks for a container on the socket `requests`, and stay until it has ended.

    A byte is written to `taken` when this process has a request, so that the zygote can fork the next one.
    """
    woken = sleep(requests, taken, Starter, 1, None)
    if woken is not None:
        service = Service(*woken)
        try:
            service.run()
        except BaseException:
            service.leave_traceback()
            raise


def sleep(
    requests: int, taken: int, starter: type[Starter], subreaper: int, timeout: float | None
) -> tuple[bytes, Files] | None:
    """Have a container created, and sleep until something happens.

    What the starter found out, and the open files; None if there is no container.
    """
    _signal(_SIGCHLD, _SIG_DFL)
    _prctl(PR_SET_CHILD_SUBREAPER, subreaper, 0, 0, 0)
    control = _socket(_AF_UNIX, _LISTENER, 0)
    attach = _socket(_AF_UNIX, _LISTENER, 0)
    _socketpair(_AF_UNIX, _SEQPACKET, 0, _pair)
    session, daemon = _pair
    oom_event = os.eventfd(0, _EVENT)
    oom_counter = -1
    stdin_read, stdin = os.pipe()
    stdout, stdout_write = os.pipe()
    stderr, stderr_write = os.pipe()
    facts_read, facts_write = os.pipe()
    me = os.getpid()
    child = os.fork()
    if child == 0:
        starter(
            requests=requests,
            taken=taken,
            daemon=daemon,
            control=control,
            attach=attach,
            oom_event=oom_event,
            stdio=(stdin_read, stdout_write, stderr_write),
            errors=stderr,
            facts=facts_write,
            monitor=me,
        ).run()
        os._exit(0)
    os.close(requests)
    os.close(taken)
    os.close(daemon)
    os.close(stdin_read)
    os.close(stdout_write)
    os.close(stderr_write)
    os.close(facts_write)
    facts = b""
    while piece := os.read(facts_read, _MAX_FACTS):
        facts += piece
    os.close(facts_read)
    os.waitpid(child, 0)
    if not facts:
        return None
    pid, terminal, has_stdin, host_pids, cgroup_version, counter, _ = facts.split(b"\0", 6)
    if terminal == b"1":
        os.close(stdin)
        os.close(stdout)
        os.close(stderr)
        stdin, stdout, stderr = _take_terminal(session, has_stdin == b"1")
    elif has_stdin == b"0":
        os.close(stdin)
        stdin = -1
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
    return facts, Files(epoll, session, control, attach, stdin, stdout, stderr, pidfd, oom_counter, oom_event)


def _take_terminal(session: int, has_stdin: bool) -> tuple[int, int, int]:
    """The starter has sent the terminal's master side: stdin (a duplicate, or -1), stdout, stderr (none)."""
    sock = socket.socket(fileno=os.dup(session))
    _, control, _, _ = sock.recvmsg(1, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    sock.close()
    master = int.from_bytes(control[0][2][:4], sys.byteorder)
    return os.dup(master) if has_stdin else -1, master, -1


class _Understudy(Starter):
    """Starts nothing, and takes the process itself for the container."""

    def run(self) -> None:
        os.write(self.facts, b"%d\0000\0001\0000\0000\0\0" % os.getppid())


def rehearse() -> None:
    """In the zygote: do what each monitor will do, until the interpreter has nothing left to learn of it."""
    for _ in range(_REHEARSALS):
        woken = sleep(*os.pipe(), _Understudy, 0, 0)
        if woken is not None:
            woken[1].close()
