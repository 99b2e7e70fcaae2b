"""OCI runtimes and the other programs that the daemon calls."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

from crio.cli.doctor.finding import Finding, Patient, error, ok, warning

_SECONDS = 10.0


def check(patient: Patient) -> Iterator[Finding]:
    if patient.loaded is None:
        return
    runtime = patient.loaded.config.runtime
    for name, handler in runtime.runtimes.items():
        what = f"{name}{' (the default)' if name == runtime.default_runtime else ''}"
        version, problem = _version(handler.runtime_path)
        if problem:
            yield error("runtimes", f"{what}: {problem}", f"install {name}, or correct [crio.runtime.runtimes.{name}]")
        else:
            yield ok("runtimes", f"{what}: {handler.runtime_path}, version {version}")
    if not any(shutil.which(name) for name in ("nft", "iptables")):
        yield warning(
            "runtimes", "neither nft nor iptables is here: many CNI plug-ins need one", "apt install nftables"
        )


def _version(path: str) -> tuple[str, str]:
    """What a runtime says of its version, or what is wrong with it."""
    if not os.path.exists(path):
        return "", f"{path or 'its program'} does not exist"
    try:
        done = subprocess.run([path, "--version"], capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return "", f"{path} --version does not end within {_SECONDS:g} s"
    except OSError as problem:
        return "", f"{path} cannot be run: {problem.strerror}"
    if done.returncode != 0:
        reason = " ".join(done.stderr.decode("utf-8", "replace").split())[:200]
        return "", f"{path} --version fails: {reason or done.returncode}"
    return done.stdout.decode("utf-8", "replace").split("\n", 1)[0].rpartition(" ")[2], ""
