"""The zygote: a small process that forks monitors.

Forking needs a process without threads, locks or much memory; the daemon is none. The zygote loads what monitors need,
freezes it, and then waits for packets on one socket: `monitor`, `exec` and `pause`, each with a connection (first file of the
packet) on which the new process answers by itself. It keeps no state of its monitors, so killing it harms none of
them, and it leaves when the daemon's end of the socket is closed.

Between two forks it does next to nothing, and does not even decode a request: every page it writes to is one more that
the last monitor has for itself.
"""

from __future__ import annotations

import _socket
import fcntl
import gc
import os
import signal
import struct
import sys

from crio.conmon import children, monitor
from crio.conmon.execmonitor import ExecMonitor
from crio.conmon.packets import MAX_FDS, MAX_PACKET, PROTOCOL, decode, encode
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
_MONITOR = f"{PROTOCOL} monitor\0".encode()
_FORMATS = tuple(f"{count}i" for count in range(MAX_FDS + 1))
_EXEC = f"{PROTOCOL} exec\0".encode()
_PAUSE = f"{PROTOCOL} pause\0".encode()

# mallopt(3): without these a busy monitor gives its read buffers back to the kernel, and faults them in again, at each
# read. It trims its heap by itself when it has become quiet.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_HEAP_SLACK = 1024 * 1024


def serve(daemon: _socket.socket) -> None:
    """Fork on request until the daemon goes away."""
    size = MAX_PACKET + 1
    space = _socket.CMSG_SPACE(4 * MAX_FDS)
    while True:
        request, control, _, _ = daemon.recvmsg(size, space, _socket.MSG_CMSG_CLOEXEC)
        if not request:
            return
        if not control:
            continue
        rights = control[0][2]
        fds = struct.unpack(_FORMATS[len(rights) // 4], rights)
        try:
            pid = os.fork()
        except OSError as error:
            _tell_failure(fds[0], error)
            pid = -1
        if pid == 0:
            _become(request, fds)
        for fd in fds:
            os.close(fd)


def _become(request: bytes, fds: tuple[int, ...]) -> None:
    """In the new process: cut every tie to the zygote and be the monitor. Does not return."""
    code = 1
    try:
        os.setsid()
        if request.startswith(_MONITOR):
            session = fds[0]
            os.closerange(_FIRST_FD, session)
            os.closerange(session + 1, _MAX_FD)
            monitor.run(request, session)
        elif request.startswith(_EXEC):
            files = close_all_but(fds)
            ExecMonitor(decode(request, files[1:]), files[0]).run()
        elif request.startswith(_PAUSE):
            Pause(close_all_but(fds)[0]).run()
        code = 0
    except BaseException:  # noqa: BLE001  the last frame of this process: it must end here
        _leave_traceback(request)
    finally:
        os._exit(code)


def close_all_but(fds: Sequence[int]) -> list[int]:
    """Close everything but the standard streams and `fds`, which move to the lowest numbers."""
    aside = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ASIDE) for fd in fds]
    kept = [os.dup2(fd, _FIRST_FD + index, inheritable=False) for index, fd in enumerate(aside)]
    os.closerange(_FIRST_FD + len(kept), _MAX_FD)
    return kept


def _tell_failure(session: int, error: OSError) -> None:
    sock = _socket.socket(fileno=os.dup(session))
    try:
        sock.send(encode("failed", {"message": f"cannot fork: {error.strerror}", "setup": True}))
    except OSError:
        pass
    sock.close()


def _leave_traceback(request: bytes) -> None:
    """Where somebody will look for it: the bundle. Standard error is /dev/null by now."""
    try:
        packet = decode(request)
        directory = packet.text("bundle") or packet.text("directory")
        fd = os.open(f"{directory}/conmon.crash", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.dup2(fd, 2)
        sys.excepthook(*sys.exc_info())
    except Exception:  # noqa: BLE001  there is nobody left to tell
        pass


def main(socket_fd: int) -> None:
    """The program: `socket_fd` is the daemon's SOCK_SEQPACKET connection."""
    set_name("conmon")
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    libc.mallopt(_M_TRIM_THRESHOLD, _HEAP_SLACK)
    libc.mallopt(_M_MMAP_THRESHOLD, _HEAP_SLACK)
    null = os.open("/dev/null", os.O_RDWR)
    for target in (0, 1, 2):
        os.dup2(null, target)
    if null > 2:
        os.close(null)
    daemon = _socket.socket(fileno=socket_fd)
    gc.disable()
    monitor.rehearse()
    children.remember_only(0)
    signal.signal(signal.SIGCHLD, children.on_sigchld)
    gc.collect()
    gc.freeze()
    daemon.send(encode("ready", {"protocol": PROTOCOL, "pid": os.getpid()}))
    serve(daemon)
