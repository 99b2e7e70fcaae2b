"""The zygote: a small process that forks monitors.

Forking needs a process without threads, locks or much memory; the daemon is none. The zygote loads what monitors need,
freezes it, and keeps one monitor forked ahead, which waits for the daemon's next `monitor` request on a socket that
only monitors read. On its own socket it takes `exec` and `pause`, each with a connection (first file of the packet) on
which the new process answers by itself. It keeps no state of its monitors, so killing it harms none of them, and it
leaves when the daemon's end of the socket is closed; so does the one that waits.

Between two forks it does next to nothing: every page it writes to is one more that the last monitor has for itself.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import socket
import time

from crio.conmon import children, monitor, serving
from crio.conmon.execmonitor import ExecMonitor
from crio.conmon.files import close_all_but
from crio.conmon.packets import PROTOCOL, PacketError, encode, receive
from crio.conmon.pause import Pause
from crio.linux.clone import CLONE_CHILD_SETTID, CLONE_PIDFD, Clone, libc
from crio.linux.prctl import set_name

# The daemon's end ends the zygote, the container's end a monitor; a signal meant for the daemon's group ends neither.
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_MAX_FAILURES = 5
_RETRY = 0.1

# mallopt(3): without these a busy monitor gives its read buffers back to the kernel, and faults them in again, at each
# read. It trims its heap by itself when it has become quiet.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_HEAP_SLACK = 1024 * 1024
_poll = libc.poll


def serve(daemon: int, requests: int) -> None:
    """Fork on request until the daemon goes away. `requests` is the socket that monitors read."""
    taken, told = os.pipe()
    watched = _Watched(daemon, taken)
    make_monitor = Clone(CLONE_PIDFD | CLONE_CHILD_SETTID, watched.pidfd)
    failures = 0
    while failures < _MAX_FAILURES:
        spare = make_monitor()
        if spare == 0:
            monitor.run(requests, told, make_monitor.own_pid)
        if spare < 0:
            # No process to be had now; requests wait in the socket meanwhile.
            time.sleep(_RETRY)
            continue
        ready = 0
        while ready == 0:
            if watched.wait() <= 0:
                # A child has ended; nothing is known of the descriptors.
                continue
            if watched.taken():
                os.read(taken, 1)
                ready = 1
                failures = 0
            elif watched.spare():
                # It has ended without a request. That must not become a loop.
                ready = 1
                failures += 1
            elif watched.daemon() and not _serve_request(daemon):
                return
        os.close(watched.pidfd[0])


class _PollFd(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


class _Watched:
    """The descriptors that the zygote waits for, as poll(2) has them."""

    def __init__(self, daemon: int, taken: int) -> None:
        self._all = all_ = (_PollFd * 3)()
        for entry, fd in zip(all_, (-1, taken, daemon), strict=True):
            entry.fd, entry.events = fd, select.POLLIN
        self.pidfd = (ctypes.c_int * 1).from_buffer(all_)
        """Of the monitor that waits for a request."""
        self._spare, self._taken, self._daemon = all_

    def wait(self) -> int:
        return int(_poll(self._all, 3, -1))

    def spare(self) -> int:
        return int(self._spare.revents)

    def taken(self) -> int:
        return int(self._taken.revents)

    def daemon(self) -> int:
        return int(self._daemon.revents)


def _serve_request(daemon: int) -> bool:
    """Fork what the daemon asks for. False if it has gone."""
    sock = socket.socket(fileno=os.dup(daemon))
    try:
        packet = receive(sock)
    except PacketError:
        return True
    except OSError:
        return False
    finally:
        sock.close()
    if packet is None:
        return False
    try:
        if packet.fds and packet.verb in ("exec", "pause") and os.fork() == 0:
            try:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os.setsid()
                session, *packet.fds = close_all_but(packet.fds)
                if packet.verb == "exec":
                    ExecMonitor(packet, session).run()
                else:
                    Pause(session, packet.fds[0] if packet.fds else -1, packet.number("nobody")).run()
            finally:
                os._exit(0)
    except OSError:
        # No process to be had. The daemon sees that its connection is closed.
        pass
    packet.close()
    return True


def main(socket_fd: int, requests: int) -> None:
    """The program: the daemon's SOCK_SEQPACKET connections to the zygote, and to the monitor that waits."""
    set_name("conmon")
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    libc.mallopt(_M_TRIM_THRESHOLD, _HEAP_SLACK)
    libc.mallopt(_M_MMAP_THRESHOLD, _HEAP_SLACK)
    null = os.open("/dev/null", os.O_RDWR)
    for target in (0, 1, 2):
        os.dup2(null, target)
    socket_fd, requests = close_all_but((socket_fd, requests))
    gc.disable()
    with socket.socket(fileno=os.dup(socket_fd)) as daemon:
        daemon.send(encode("ready", {"protocol": PROTOCOL, "pid": os.getpid()}))
    # Requests may come from here on. They wait a moment.
    serving.rehearse()
    monitor.rehearse()
    # Not left to the kernel by SIG_IGN: then nobody could tell what monitors have cost.
    children.remember_only(0)
    children.reap_all()
    gc.collect()
    gc.freeze()
    serve(socket_fd, requests)
