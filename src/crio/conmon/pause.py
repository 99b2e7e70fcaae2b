"""The first process of a PID namespace that the containers of a pod share.

The namespace lives as long as this process does. It has nothing: an empty read-only root, no files, no privileges, an
id that no container uses; so its entry in the containers' /proc shows nothing of the host. All it does is to reap what
the containers' processes leave to it.
"""

from __future__ import annotations

import _socket
import ctypes
import fcntl
import os
import signal

from crio.conmon.packets import encode
from crio.linux.libc import check, libc, syscall
from crio.linux.prctl import set_name

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT, _MS_BIND = 1, 2, 4, 8, 32, 4096
_MS_REC, _MS_PRIVATE = 16384, 1 << 18
_MNT_DETACH = 2
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38
_LAST_CAPABILITY = 63
_NOBODY = 65535
_MAX_FD = 1 << 20
_ASIDE = 512


class Pause:
    """`session` is the connection to the daemon: it is told `started` with the pid as the daemon sees it.

    The process stays once the daemon has answered with a packet, and ends if the connection is closed before.
    `user_namespace` is a descriptor of the pod's own, which is to own the PID namespace; -1 for a pod without one.
    `nobody` is an id that no container of the pod uses.
    """

    def __init__(self, session: int, user_namespace: int = -1, nobody: int = _NOBODY) -> None:
        self._session = _socket.socket(fileno=session)
        self._user_namespace = user_namespace
        self._nobody = nobody or _NOBODY

    def run(self) -> None:
        """Start the process, tell the daemon, and leave it to the system."""
        try:
            answer = encode("started", {"pid": self._start()})
        except OSError as error:
            answer = encode("failed", {"message": error.strerror or str(error)})
        self._session.send(answer)

    def _start(self) -> int:
        if self._user_namespace >= 0:
            check(libc.setns(self._user_namespace, _CLONE_NEWUSER))
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
        check(libc.unshare(_CLONE_NEWPID | _CLONE_NEWNS))
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            try:
                _be_first(write_end, self._session.fileno(), self._nobody)
            finally:
                os._exit(1)
        os.close(write_end)
        number = os.read(read_end, 8)
        os.close(read_end)
        if number != b"ready":
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            code = int(number or b"5")
            raise OSError(code, os.strerror(code))
        return pid


def _be_first(ready: int, session: int, nobody: int) -> None:
    try:
        os.setsid()
        set_name("crio-pause")
        _enter_empty_root()
        _drop_privileges(nobody)
        ready, session = fcntl.fcntl(ready, fcntl.F_DUPFD, _ASIDE), fcntl.fcntl(session, fcntl.F_DUPFD, _ASIDE)
        os.dup2(ready, 0, inheritable=False)
        os.dup2(session, 1, inheritable=False)
        os.closerange(2, _MAX_FD)
    except OSError as error:
        os.write(ready, str(error.errno or 5).encode())
        return
    os.write(0, b"ready")
    os.close(0)
    # Until the daemon has written down that this process exists it must not outlive the daemon.
    if not os.read(1, 1):
        return
    os.close(1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    while True:
        signal.sigwait([signal.SIGCHLD])
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


def _enter_empty_root() -> None:
    """An empty tmpfs, put over a directory that every machine has, becomes the root; the host's is let go."""
    check(libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None), "/")
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    check(libc.mount(b"none", b"/proc", b"tmpfs", ctypes.c_ulong(flags), b"size=4k,mode=755"), "/proc")
    os.chdir("/proc")
    syscall(_SYS_PIVOT_ROOT[os.uname().machine], b".", b".")
    check(libc.umount2(b".", _MNT_DETACH))
    os.chdir("/")
    check(libc.mount(None, b"/", None, ctypes.c_ulong(flags | _MS_REMOUNT | _MS_BIND | _MS_RDONLY), None), "/")


def _drop_privileges(nobody: int) -> None:
    for capability in range(_LAST_CAPABILITY + 1):
        if libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) != 0:
            break
    os.setgroups([])
    os.setresgid(nobody, nobody, nobody)
    # Leaving user 0 empties the permitted and effective sets (capabilities(7)).
    os.setresuid(nobody, nobody, nobody)
    check(libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0))
