"""crio.conf: what its keys are, and how files, environment and flags become one immutable `Config`.

`load` is the door; the daemon and the commands call it. Other rooms are handed the part of the configuration that they
need and never read a file, a variable or a flag of the daemon themselves. registries.conf, policy.json and CNI files
are not here but in the rooms that use them.
"""

from __future__ import annotations

from crio.config.loader import LoadedConfig, default_config, load, parse
from crio.config.model import Config
from crio.config.problem import ConfigError, Problem, Source
from crio.config.tables.handler import RuntimeHandler, Workload

__all__ = [
    "Config",
    "ConfigError",
    "LoadedConfig",
    "Problem",
    "RuntimeHandler",
    "Source",
    "Workload",
    "default_config",
    "load",
    "parse",
]
