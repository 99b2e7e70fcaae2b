from __future__ import annotations

from collections.abc import Sequence

import pytest

from crio.base.errors import InvalidArgument
from crio.config.tables.runtime import Runtime
from crio.linux.caps import NAMES
from crio.security.capabilities import Resolved, full_name, resolve

ALL = frozenset(NAMES)
DEFAULT = [full_name(name) for name in Runtime().default_capabilities]


def resolved(add: Sequence[str] = (), drop: Sequence[str] = (), **options: object) -> Resolved:
    settings: dict[str, object] = {"defaults": DEFAULT, "available": ALL, "known": NAMES, **options}
    return resolve(add, drop, **settings)  # type: ignore[arg-type]


def test_defaults_are_the_nine() -> None:
    sets = resolved().sets
    assert sorted(sets.bounding) == sorted(DEFAULT)
    assert len(DEFAULT) == 9
    assert sets.effective == sets.permitted == sets.bounding


def test_inheritable_and_ambient_are_empty() -> None:
    """CVE-2022-27652, CVE-2018-1000400."""
    for privileged in (False, True):
        sets = resolved(["ALL"], privileged=privileged).sets
        assert sets.inheritable == []
        assert sets.ambient == []


def test_inheritable_only_by_configuration() -> None:
    assert sorted(resolved(inheritable=True).sets.inheritable) == sorted(DEFAULT)


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        (["NET_RAW"], [], {*DEFAULT, "CAP_NET_RAW"}),
        (["cap_net_raw"], ["chown"], {*DEFAULT, "CAP_NET_RAW"} - {"CAP_CHOWN"}),
        (["ALL"], [], ALL),
        (["all"], ["SYS_ADMIN"], ALL - {"CAP_SYS_ADMIN"}),
        ([], ["ALL"], set()),
        (["NET_BIND_SERVICE"], ["ALL"], {"CAP_NET_BIND_SERVICE"}),
        (["ALL"], ["ALL"], set()),
        (["NET_RAW"], ["NET_RAW"], set(DEFAULT)),
    ],
)
def test_add_and_drop(add: list[str], drop: list[str], expected: set[str]) -> None:
    assert set(resolved(add, drop).sets.bounding) == expected


def test_unknown_name_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="FLY"):
        resolved(["FLY"])
    with pytest.raises(InvalidArgument):
        resolved([], ["FLY"])


def test_what_the_daemon_lacks_is_withheld() -> None:
    result = resolved(["ALL"], available=ALL - {"CAP_SYS_RESOURCE"})
    assert "CAP_SYS_RESOURCE" not in result.sets.bounding
    assert result.withheld == ("CAP_SYS_RESOURCE",)


def test_privileged_gets_everything_that_the_kernel_knows() -> None:
    known = NAMES[:38]
    assert resolved([], ["ALL"], known=known, privileged=True).sets.bounding == list(known)


def test_requested_ambient_is_inheritable_as_well() -> None:
    sets = resolved([], [], ambient=["NET_BIND_SERVICE"]).sets
    assert sets.ambient == sets.inheritable == ["CAP_NET_BIND_SERVICE"]


def test_names_are_in_the_kernels_order() -> None:
    names = resolved().sets.bounding
    assert names == sorted(names, key=NAMES.index)


def test_full_name() -> None:
    assert full_name("sys_admin") == full_name("CAP_SYS_ADMIN") == "CAP_SYS_ADMIN"
