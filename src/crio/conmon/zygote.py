"""The zygote: a small process that forks monitors.

Forking needs a process without threads, locks or much memory; the daemon is none. The zygote loads what monitors need,
freezes it, and then waits for packets on one socket: `monitor` and `exec`, each with a connection (first file of the
packet) on which the new process answers by itself. It keeps no state of its monitors, so killing it harms none of
them, and it leaves when the daemon's end of the socket is closed.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys

from crio.conmon.execmonitor import ExecMonitor
from crio.conmon.loop import READ, Loop, wakeup_pipe
from crio.conmon.monitor import ContainerMonitor
from crio.conmon.packets import PROTOCOL, Packet, PacketError, receive, send
from crio.linux.libc import libc
from crio.linux.prctl import set_child_subreaper, set_name, set_parent_death_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    Program = type[ContainerMonitor] | type[ExecMonitor]

_PROGRAMS: dict[str, Program] = {"monitor": ContainerMonitor, "exec": ExecMonitor}
# The daemon's end ends the zygote, the container's end a monitor; a signal meant for the daemon's group ends neither.
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_MAX_FD = 1 << 20
_FIRST_FD = 3
_ASIDE = 512
"""A descriptor number that the zygote, which has a handful of files open, does not reach."""

# mallopt(3): without these a busy monitor gives its read buffers back to the kernel, and faults them in again, at each
# read. It trims its heap by itself when it has become quiet.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_HEAP_SLACK = 1024 * 1024


def _noted(_signal: int, _frame: object) -> None:
    """SIGCHLD needs a handler to reach the wakeup descriptor; the loop does the work."""


class Zygote:
    def __init__(self, daemon: socket.socket) -> None:
        self._daemon = daemon
        self._children: set[int] = set()
        self._gone = False

    def run(self) -> None:
        """Fork on request until the daemon goes away."""
        loop = Loop()
        self._wakeup, write_end = wakeup_pipe()
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        loop.add(self._wakeup, READ, self._reap)
        loop.add(self._daemon.fileno(), READ, self._request)
        send(self._daemon, "ready", {"protocol": PROTOCOL, "pid": os.getpid()})
        gc.collect()
        gc.freeze()
        while not self._gone:
            loop.turn(None)

    def _request(self, _events: int) -> None:
        try:
            packet = receive(self._daemon)
        except PacketError:
            return
        except OSError:
            packet = None
        if packet is None:
            self._gone = True
            return
        program = _PROGRAMS.get(packet.verb)
        if program is not None and packet.fds:
            self._fork(program, packet)
        packet.close()

    def _fork(self, program: Program, packet: Packet) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            with socket.socket(fileno=packet.fds.pop(0)) as session:
                send(session, "failed", {"message": f"cannot fork: {error.strerror}", "setup": True})
            return
        if pid:
            self._children.add(pid)
            return
        code = 1
        try:
            _become(program, packet)
            code = 0
        except BaseException:  # noqa: BLE001  the last frame of this process: it must end here
            _leave_traceback(packet)
        finally:
            os._exit(code)

    def _reap(self, _events: int) -> None:
        try:
            os.read(self._wakeup, 4096)
        except BlockingIOError:
            pass
        for pid in list(self._children):
            try:
                ended, _ = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                ended = pid
            if ended:
                self._children.discard(pid)


def _become(program: Program, packet: Packet) -> None:
    """In the new process: cut every tie to the zygote and be the monitor."""
    os.setsid()
    set_child_subreaper()
    set_parent_death_signal(0)
    set_name("conmon")
    signal.set_wakeup_fd(-1)
    # The packet's files get the lowest numbers and everything else is closed, whatever it was and whoever left it.
    count = len(packet.fds)
    for index, fd in enumerate(packet.fds):
        os.dup2(fd, _ASIDE + index, inheritable=False)
    packet.fds = [os.dup2(_ASIDE + index, _FIRST_FD + index, inheritable=False) for index in range(count)]
    os.closerange(_FIRST_FD + count, _MAX_FD)
    session = socket.socket(fileno=packet.fds.pop(0))
    program(packet, session).run()


def _leave_traceback(packet: Packet) -> None:
    """Where somebody will look for it: the bundle. Standard error is /dev/null by now."""
    directory = packet.text("bundle") or packet.text("directory")
    try:
        fd = os.open(f"{directory}/conmon.crash", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.dup2(fd, 2)
        sys.excepthook(*sys.exc_info())
    except OSError:
        pass


def main(socket_fd: int) -> None:
    """The program: `socket_fd` is the daemon's SOCK_SEQPACKET connection."""
    set_name("conmon-zygote")
    signal.signal(signal.SIGCHLD, _noted)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    libc.mallopt(_M_TRIM_THRESHOLD, _HEAP_SLACK)
    libc.mallopt(_M_MMAP_THRESHOLD, _HEAP_SLACK)
    null = os.open("/dev/null", os.O_RDWR)
    for target in (0, 1, 2):
        os.dup2(null, target)
    if null > 2:
        os.close(null)
    daemon = socket.socket(fileno=socket_fd)
    daemon.setblocking(True)
    gc.disable()
    Zygote(daemon).run()
