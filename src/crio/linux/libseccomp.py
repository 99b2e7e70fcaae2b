"""libseccomp through ctypes: from a specification's seccomp rules to the filter program that the kernel takes.

An OCI runtime does this for every container, which costs it 10 to 25 ms of CPU time with an ordinary profile. A runtime
that takes a ready program is given one that was made once. The library is loaded at the first use only.
"""

from __future__ import annotations

import ctypes
import os

from crio.base.errors import Unimplemented
from crio.spec.oci_runtime import Seccomp

_LIBRARY = "libseccomp.so.2"
_OPERATORS = {
    f"SCMP_CMP_{name}": number for number, name in enumerate(("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"), start=1)
}
# The kernel's values, <linux/seccomp.h>.
_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_WITH_NUMBER = frozenset({"SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"})
_EPERM = 1
_UNKNOWN = -1


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def export_bpf(rules: Seccomp) -> bytes:
    """The filter program (an array of struct sock_filter) of the rules, as crun 1.8 and runc make it.

    Names that this libseccomp does not know are left out, as runtimes do. Takes some 20 ms of CPU time for 400 names.
    Raises Unimplemented if the library is missing or cannot express the rules (notifications): the runtime must do it.
    """
    library = _load()
    context = library.seccomp_init(_action(rules.default_action, rules.default_errno_ret))
    if not context:
        raise Unimplemented("cannot compile the seccomp profile: libseccomp refuses its default action")
    handle = ctypes.c_void_p(context)
    try:
        for name in rules.architectures:
            token = library.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
            # Zero is an unknown one; -EEXIST means that it is the native one.
            if not token or library.seccomp_arch_add(handle, ctypes.c_uint32(token)) not in (0, -17):
                raise Unimplemented(f"cannot compile the seccomp profile: libseccomp does not know {name}")
        _add_rules(library, handle, rules)
        return _export(library, handle)
    finally:
        library.seccomp_release(handle)


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise Unimplemented(f"cannot compile the seccomp profile: {error}") from None
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    return library


def _action(name: str, number: int | None) -> int:
    if name not in _ACTIONS:
        raise Unimplemented(f"cannot compile the seccomp profile: {name} needs the runtime")
    value = _ACTIONS[name]
    return value | ((number if number is not None else _EPERM) & 0xFFFF) if name in _WITH_NUMBER else value


def _add_rules(library: ctypes.CDLL, handle: ctypes.c_void_p, rules: Seccomp) -> None:
    default = _action(rules.default_action, rules.default_errno_ret)
    for rule in rules.syscalls:
        action = _action(rule.action, rule.errno_ret)
        if action == default:
            continue
        comparisons = [
            _Comparison(argument.index, _OPERATORS[argument.op], argument.value, argument.value_two)
            for argument in rule.args
        ]
        indexes = [argument.index for argument in rule.args]
        # Several conditions on one argument are alternatives, which runtimes add one by one.
        groups = [comparisons] if len(set(indexes)) == len(indexes) else [[one] for one in comparisons]
        for name in rule.names:
            number = library.seccomp_syscall_resolve_name(name.encode())
            if number == _UNKNOWN:
                continue
            for group in groups:
                array = (_Comparison * len(group))(*group)
                result = library.seccomp_rule_add_array(
                    handle, ctypes.c_uint32(action), ctypes.c_int(number), ctypes.c_uint(len(group)), array
                )
                if result < 0:
                    raise Unimplemented(f"cannot compile the seccomp profile: rule for {name}: {os.strerror(-result)}")


def _export(library: ctypes.CDLL, handle: ctypes.c_void_p) -> bytes:
    fd = os.memfd_create("seccomp-filter", os.MFD_CLOEXEC)
    try:
        result = library.seccomp_export_bpf(handle, ctypes.c_int(fd))
        if result < 0:
            raise Unimplemented(f"cannot compile the seccomp profile: {os.strerror(-result)}")
        size = os.fstat(fd).st_size
        return os.pread(fd, size, 0)
    finally:
        os.close(fd)
