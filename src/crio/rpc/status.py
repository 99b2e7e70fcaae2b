"""The one place where errors become gRPC status codes and texts."""

from __future__ import annotations

from crio.base.errors import Code, CrioError
from crio.base.files import is_full

MAX_TEXT = 4096
"""Characters of a status text; longer ones would run into the header limits of other gRPC libraries."""


class RpcError(CrioError):
    """A call to another process ended with a status other than OK. `code` is that status."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.temporary = code in (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED, Code.CANCELLED)


def status_of(error: BaseException) -> tuple[Code, str]:
    """The code and text that a client gets for `error`. What is not a CrioError is a fault of ours: INTERNAL."""
    if isinstance(error, CrioError):
        return error.code, error.message[:MAX_TEXT]
    text = " ".join(str(error).split())
    if is_full(error):
        return Code.RESOURCE_EXHAUSTED, f"cannot go on: {text}; make room on the node's file systems"[:MAX_TEXT]
    return Code.INTERNAL, f"internal error: {type(error).__name__}{': ' if text else ''}{text}"[:MAX_TEXT]


def is_fault(error: BaseException) -> bool:
    """Whether `error` is a mistake of this program, which is logged with its traceback."""
    return not isinstance(error, CrioError) and not is_full(error)
