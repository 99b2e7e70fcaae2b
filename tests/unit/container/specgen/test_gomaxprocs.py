from __future__ import annotations

import pytest

from crio.container.specgen.gomaxprocs import gomaxprocs
from crio.spec.oci_runtime import Cpu

BURSTABLE = "/kubepods/burstable/pod1"


@pytest.mark.parametrize(
    ("floor", "parent", "cpu", "expected"),
    [
        (0, BURSTABLE, None, None),
        (4, "/kubepods/pod1", None, None),
        (4, "/kubepods/besteffort/pod1", Cpu(shares=2), "4"),
        (1, BURSTABLE, Cpu(shares=1024), "2"),
        (1, BURSTABLE, Cpu(shares=1536), "3"),
        (1, "kubepods-burstable-pod1.slice", Cpu(shares=100), "1"),
        (8, BURSTABLE, Cpu(shares=1024), "8"),
        (4, BURSTABLE, Cpu(shares=1024, quota=50_000), None),
        (4, BURSTABLE, Cpu(shares=1024, quota=-1), "4"),
    ],
)
def test_from_the_request(floor: int, parent: str, cpu: Cpu | None, expected: str | None) -> None:
    assert gomaxprocs(floor, parent, {}, cpu) == expected


def test_skipped_by_annotation() -> None:
    assert gomaxprocs(4, BURSTABLE, {"skip-gomaxprocs.crio.io": "true"}, None) is None
