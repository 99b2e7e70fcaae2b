"""All checks, one after the other."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from crio.base.errors import CrioError
from crio.cli.doctor.finding import Finding, Patient, error
from crio.config import ConfigError, load

SUBJECTS = (
    "daemon",
    "configuration",
    "kernel",
    "cgroups",
    "programs",
    "network",
    "storage",
    "registries",
    "machine",
    "leftovers",
)
"""Modules of this package with a function `check`, in the order in which their findings are shown."""


def diagnose(socket: str, config_path: str = "", config_dir: str = "", *, offline: bool = False) -> Iterator[Finding]:
    """What is well and what is not. `socket` "": the one of the configuration. A check that breaks is a finding too."""
    loaded = None
    try:
        loaded = load(config_path=config_path or None, config_dir=config_dir or None)
    except ConfigError as problem:
        for each in problem.problems:
            yield error("configuration", str(each), "correct it: the daemon does not start with it")
    patient = Patient(loaded, socket or (loaded.config.api.listen if loaded else "/var/run/crio/crio.sock"), offline)
    for name in SUBJECTS:
        module = importlib.import_module(f"crio.cli.doctor.{name}")
        try:
            yield from module.check(patient)
        except (CrioError, OSError) as problem:
            yield error(name, f"cannot be examined: {problem}")
