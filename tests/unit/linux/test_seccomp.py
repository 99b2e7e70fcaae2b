from __future__ import annotations

import os

from crio.linux import seccomp

_AUDIT_ARCH_X86_64 = 0xC000003E


def test_actions_of_the_kernel() -> None:
    assert {"errno", "allow", "kill_process"} <= seccomp.actions()


def test_absent_architectures_are_secondary_ones() -> None:
    absent = seccomp.absent_architectures()
    assert absent <= {"SCMP_ARCH_X86", "SCMP_ARCH_X32"}
    if os.path.exists("/proc/sys/abi/vsyscall32"):
        assert "SCMP_ARCH_X86" not in absent


def test_names_of_system_calls() -> None:
    assert seccomp.syscall_name(59, _AUDIT_ARCH_X86_64) == "execve"
    assert seccomp.syscall_name(99999, _AUDIT_ARCH_X86_64) == "99999"
