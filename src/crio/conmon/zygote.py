"""The zygote: a small process that forks monitors.

Forking needs a process without threads, locks or much memory; the daemon is none. The zygote loads what monitors need,
freezes it, and keeps one monitor forked ahead, which waits for the daemon's next `monitor` request on a socket that
only monitors read. On its own socket it takes `exec` and `pause`, each with a connection (first file of the packet) on
which the new process answers by itself. It keeps no state of its monitors, so killing it harms none of them, and it
leaves when the daemon's end of the socket is closed; so does the one that waits.

Between two forks it does next to nothing: every page it writes to is one more that the last monitor has for itself.
"""

from __future__ import annotations

import fcntl
import gc
import os
import select
import signal
import socket
import time

from crio.conmon import children, monitor
from crio.conmon.execmonitor import ExecMonitor
from crio.conmon.packets import PROTOCOL, PacketError, encode, receive
from crio.conmon.pause import Pause
from crio.linux.libc import libc
from crio.linux.prctl import set_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# The daemon's end ends the zygote, the container's end a monitor; a signal meant for the daemon's group ends neither.
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_MAX_FD = 1 << 20
_FIRST_FD = 3
_ASIDE = 64
"""More than a zygote ever has open."""
_MAX_FAILURES = 5
_RETRY = 0.1

# mallopt(3): without these a busy monitor gives its read buffers back to the kernel, and faults them in again, at each
# read. It trims its heap by itself when it has become quiet.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_HEAP_SLACK = 1024 * 1024


def serve(daemon: int, requests: int) -> None:
    """Fork on request until the daemon goes away. `requests` is the socket that monitors read."""
    taken, told = os.pipe()
    poll = select.poll()
    poll.register(daemon, select.POLLIN)
    poll.register(taken, select.POLLIN)
    failures = 0
    while failures < _MAX_FAILURES:
        try:
            spare = os.fork()
        except OSError:
            # No process to be had now; requests wait in the socket meanwhile.
            time.sleep(_RETRY)
            continue
        if spare == 0:
            _become_monitor(requests, told)
        pidfd = os.pidfd_open(spare)
        poll.register(pidfd, select.POLLIN)
        ready = 0
        while ready == 0:
            for fd, _ in poll.poll():
                if fd == taken:
                    os.read(taken, 1)
                    ready = 1
                    failures = 0
                elif fd == daemon:
                    if not _serve_request(daemon):
                        return
                elif ready == 0:
                    # It has ended without a request. That must not become a loop.
                    ready = 1
                    failures += 1
        poll.unregister(pidfd)
        os.close(pidfd)


def _become_monitor(requests: int, told: int) -> None:
    """In the new process: cut every tie to the zygote and be a monitor. Does not return."""
    try:
        os.setsid()
        # The lower number is that of `requests`, as `main` saw to. All others are closed, whatever they are.
        os.closerange(_FIRST_FD, requests)
        os.closerange(requests + 1, told)
        os.closerange(told + 1, _MAX_FD)
        monitor.run(requests, told)
    finally:
        os._exit(0)


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


def close_all_but(fds: Sequence[int]) -> list[int]:
    """Close everything but the standard streams and `fds`, which move to the lowest numbers."""
    aside = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ASIDE) for fd in fds]
    kept = [os.dup2(fd, _FIRST_FD + index, inheritable=False) for index, fd in enumerate(aside)]
    os.closerange(_FIRST_FD + len(kept), _MAX_FD)
    return kept


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
    monitor.rehearse()
    children.remember_only(0)
    signal.signal(signal.SIGCHLD, children.on_sigchld)
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=os.dup(socket_fd)) as daemon:
        daemon.send(encode("ready", {"protocol": PROTOCOL, "pid": os.getpid()}))
    serve(socket_fd, requests)
