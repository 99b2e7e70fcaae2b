from __future__ import annotations

import ctypes
import os
import signal
import struct

import pytest

from crio.base.errors import Unimplemented
from crio.linux.libseccomp import export_bpf
from crio.spec.oci_runtime import Seccomp, SeccompArg, SeccompSyscall

_INSTRUCTION = 8
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def errno_under(program: bytes, *call: int) -> int:
    """The errno of a system call in a child that has installed the filter."""
    libc = ctypes.CDLL(None, use_errno=True)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        argument = _Program(len(program) // _INSTRUCTION, program)
        if libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(argument)) != 0:
            os._exit(1)
        ctypes.set_errno(0)
        result = libc.syscall(*(ctypes.c_long(number) for number in call))
        os.write(writer, struct.pack("i", ctypes.get_errno() if result < 0 else 0))
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as file:
        return int(struct.unpack("i", file.read(4))[0])


def rules(*syscalls: SeccompSyscall) -> Seccomp:
    return Seccomp(default_action="SCMP_ACT_ALLOW", architectures=["SCMP_ARCH_X86_64"], syscalls=list(syscalls))


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="system call numbers are those of x86_64")
def test_the_kernel_takes_the_program() -> None:
    getppid, personality = 110, 135
    program = export_bpf(
        rules(
            SeccompSyscall(["getppid", "no_such_call"], "SCMP_ACT_ERRNO", 95),
            SeccompSyscall(["personality"], "SCMP_ACT_ERRNO", 13, [SeccompArg(0, 0xFFFFFFFF, "SCMP_CMP_EQ")]),
        )
    )
    assert len(program) % _INSTRUCTION == 0
    assert errno_under(program, getppid) == 95
    assert errno_under(program, personality, 0xFFFFFFFF) == 13
    assert errno_under(program, personality, 0) == 0


def test_notifications_are_left_to_the_runtime() -> None:
    with pytest.raises(Unimplemented):
        export_bpf(rules(SeccompSyscall(["mount"], "SCMP_ACT_NOTIFY")))


def test_unknown_architecture() -> None:
    with pytest.raises(Unimplemented):
        export_bpf(Seccomp(default_action="SCMP_ACT_ALLOW", architectures=["SCMP_ARCH_VAX"]))
