"""The error tree: one gRPC code for each kind."""

from __future__ import annotations

import pytest

from crio.base import errors
from crio.base.errors import Code, CrioError


def kinds() -> list[type[CrioError]]:
    return [item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, CrioError)]


def test_codes_are_grpcs() -> None:
    names = (
        "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED "
        "RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS "
        "UNAUTHENTICATED"
    )
    assert [code.name for code in Code] == names.split()
    assert [code.value for code in Code] == list(range(17))


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_has_a_code_and_keeps_its_message(kind: type[CrioError]) -> None:
    error = kind("cannot do it: no")
    assert isinstance(error.code, Code)
    assert error.code is not Code.OK
    assert (error.message, str(error)) == ("cannot do it: no", "cannot do it: no")


def test_no_two_kinds_of_the_tree_share_a_code() -> None:
    codes = [kind.code for kind in kinds() if kind is not CrioError]
    shared = {code for code in codes if codes.count(code) > 1}
    assert shared <= {CrioError.code}
