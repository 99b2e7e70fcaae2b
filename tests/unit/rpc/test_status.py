from __future__ import annotations

import errno
import os

from crio.base.errors import Code, DeadlineExceeded, NotFound
from crio.rpc.status import MAX_TEXT, RpcError, is_fault, status_of


def test_errors_of_ours_keep_code_and_text() -> None:
    assert status_of(NotFound("cannot find x")) == (Code.NOT_FOUND, "cannot find x")
    assert status_of(DeadlineExceeded("late")) == (Code.DEADLINE_EXCEEDED, "late")
    assert not is_fault(NotFound("x"))


def test_anything_else_is_internal_in_one_bounded_line() -> None:
    code, text = status_of(KeyError("a\nb" * MAX_TEXT))
    assert code is Code.INTERNAL
    assert "\n" not in text
    assert len(text) == MAX_TEXT
    assert status_of(ValueError())[1] == "internal error: ValueError"
    assert is_fault(KeyError())


def test_a_full_disk_is_no_fault_of_ours() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x")
    code, text = status_of(full)
    assert code is Code.RESOURCE_EXHAUSTED
    assert text == "cannot go on: [Errno 28] No space left on device: '/x'; make room on the node's file systems"
    assert not is_fault(full)
    assert status_of(OSError(errno.EIO, "x"))[0] is Code.INTERNAL


def test_rpc_error_is_temporary_by_its_code() -> None:
    assert RpcError(Code.UNAVAILABLE, "x").temporary
    assert not RpcError(Code.NOT_FOUND, "x").temporary
