from __future__ import annotations

import pytest

from crio.cli.doctor.finding import Level, Patient
from crio.cli.doctor.kernel import check, version_of


@pytest.mark.parametrize(
    ("release", "version"), [("6.1.0-13-amd64", (6, 1)), ("5.10", (5, 10)), ("6.18.44-fc", (6, 18)), ("odd", (0, 0))]
)
def test_versions(release: str, version: tuple[int, int]) -> None:
    assert version_of(release) == version


def test_this_kernel_runs_pods() -> None:
    found = list(check(Patient(None, "/nowhere")))
    assert next(each.text for each in found if each.level is Level.OK).startswith("Linux ")
    assert not [each for each in found if each.level is Level.ERROR]
    assert all(each.remedy for each in found if "sysctl" in each.text or " is " in each.text)
