"""The one error tree.

- CrioError
  - InvalidArgument      the request itself is wrong; repeating it cannot help
  - NotFound             the named object does not exist
  - AlreadyExists        the object exists, and is not what was asked for
  - FailedPrecondition   the object exists but its state forbids the request
  - PermissionDenied     policy or credentials forbid it
  - ResourceExhausted    a limit was reached: disk, memory, connections, message size
  - Cancelled            the caller or the daemon's stop ended the work
  - DeadlineExceeded     a step took longer than it may
  - Unavailable          something this depends on is not there now (temporary)
  - Unimplemented        the feature does not exist here
  - DataLoss             stored data is damaged
  - Internal             anything else

Each class carries one gRPC status code; the RPC boundary reads it and nothing else maps errors. A message is one
sentence in the form "cannot X: reason", lower-case, naming the object; a second one may say what to do. Rooms derive
classes of their own where callers must tell cases apart or need fields.
"""

from __future__ import annotations

import enum


class Code(enum.IntEnum):
    """gRPC status codes (https://grpc.io/docs/guides/status-codes/), without a dependency on a gRPC library."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class CrioError(Exception):
    """Base of every error this project raises on purpose.

    `message` is for users. `temporary` says whether the same request may succeed later without a change.
    """

    code: Code = Code.UNKNOWN
    temporary: bool = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidArgument(CrioError):
    code = Code.INVALID_ARGUMENT


class NotFound(CrioError):
    code = Code.NOT_FOUND


class AlreadyExists(CrioError):
    code = Code.ALREADY_EXISTS


class FailedPrecondition(CrioError):
    code = Code.FAILED_PRECONDITION


class PermissionDenied(CrioError):
    code = Code.PERMISSION_DENIED


class ResourceExhausted(CrioError):
    code = Code.RESOURCE_EXHAUSTED
    temporary = True


class Cancelled(CrioError):
    code = Code.CANCELLED
    temporary = True


class DeadlineExceeded(CrioError):
    code = Code.DEADLINE_EXCEEDED
    temporary = True


class Unavailable(CrioError):
    code = Code.UNAVAILABLE
    temporary = True


class Unimplemented(CrioError):
    code = Code.UNIMPLEMENTED


class DataLoss(CrioError):
    code = Code.DATA_LOSS


class Internal(CrioError):
    code = Code.INTERNAL
