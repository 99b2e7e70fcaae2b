"""On what was measured, in general words."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path

from crio import __version__

_VERSION = re.compile(r"\d+\.\d+(\.\d+)?[^\s,]*")


def describe() -> dict[str, str]:
    """Machine and versions by name."""
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "crio": __version__,
        "Python": platform.python_version(),
        "kernel": platform.release(),
        "processors": f"{os.cpu_count()} x {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "load before": " ".join(f"{value:.1f}" for value in os.getloadavg()),
    }
    for name, argument in (
        ("crun", "--version"),
        ("runc", "--version"),
        ("containerd", "--version"),
        ("conmon", "--version"),
        ("skopeo", "--version"),
    ):
        found[name] = _version(name, argument)
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.machine()


def _version(program: str, argument: str) -> str:
    path = shutil.which(program)
    if path is None:
        return "not installed"
    done = subprocess.run([path, argument], capture_output=True, text=True, check=False)
    match = _VERSION.search(done.stdout)
    return match[0] if match else "unknown"
