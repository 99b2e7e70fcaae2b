from __future__ import annotations

import pytest

from crio.base.errors import InvalidArgument
from crio.container.specgen.rlimits import resource_limits
from crio.linux.caps import NAMES
from crio.spec.oci_runtime import Rlimit
from spec_input import plain_host

UNLIMITED = (1 << 64) - 1


def test_defaults_and_annotation() -> None:
    annotations = {"ulimits.crio.io": "core=0", "ulimits.crio.io/app": "nofile=10:20,memlock=unlimited"}
    made = resource_limits(("nofile=1024:4096", "RLIMIT_NPROC=5"), annotations, "app", plain_host(), [])
    assert made == [
        Rlimit("RLIMIT_NOFILE", hard=20, soft=10),
        Rlimit("RLIMIT_NPROC", hard=5, soft=5),
        Rlimit("RLIMIT_MEMLOCK", hard=UNLIMITED, soft=UNLIMITED),
    ]
    assert resource_limits((), {}, "app", plain_host(), []) == []


@pytest.mark.parametrize("text", ["nofile", "nofile=a", "nofile=5:2", "never=1", "nofile=-2", "nofile=" + "9" * 30])
def test_malformed(text: str) -> None:
    with pytest.raises(InvalidArgument):
        resource_limits((text,), {}, "app", plain_host(), [])


def test_clamped_to_the_daemons_own() -> None:
    weak = plain_host(
        capabilities=frozenset(NAMES) - {"CAP_SYS_RESOURCE"},
        rlimits={"RLIMIT_NOFILE": (10, 100), "RLIMIT_CORE": (0, -1)},
    )
    warnings: list[str] = []
    made = resource_limits(("nofile=200:300", "core=unlimited"), {}, "app", weak, warnings)
    assert made == [Rlimit("RLIMIT_NOFILE", hard=100, soft=100), Rlimit("RLIMIT_CORE", hard=UNLIMITED, soft=UNLIMITED)]
    assert len(warnings) == 1
    assert "RLIMIT_NOFILE" in warnings[0]
