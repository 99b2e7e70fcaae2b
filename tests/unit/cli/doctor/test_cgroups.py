from __future__ import annotations

import os

from crio.cli.doctor.cgroups import check
from crio.cli.doctor.finding import Level, Patient
from crio.config import LoadedConfig, parse


def examine(manager: str) -> list[str]:
    config = parse(f'[crio.runtime]\ncgroup_manager = "{manager}"\n', "x")
    patient = Patient(LoadedConfig(config, (), {}, (), "", "", {}), "/nowhere")
    return [each.text for each in check(patient) if each.level is Level.ERROR]


def test_the_manager_has_to_fit_the_machine() -> None:
    without = examine("cgroupfs")
    with_systemd = examine("systemd")
    more = (
        []
        if os.path.isdir("/run/systemd/system")
        else ['cgroup_manager is "systemd", but this machine does not run systemd']
    )
    assert with_systemd == without + more
