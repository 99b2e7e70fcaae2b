"""What this installation is. Imports stay few: installers and probes ask `crio --version` often."""

from __future__ import annotations

import sys

import crio


def print_text(*, verbose: bool) -> None:
    """The version in the first line, for scripts; facts about it in the next ones."""
    lines = [f"crio version {crio.__version__}"]
    found = facts(verbose=verbose)
    width = max(len(name) for name in found) + 3
    for name, value in found.items():
        if isinstance(value, list):
            lines.append(f"{name}:")
            lines.extend(f"  {item}" for item in value)
        else:
            text = str(value).lower() if isinstance(value, bool) else value
            lines.append(f"{name + ':':{width}}{text}")
    sys.stdout.write("\n".join(lines) + "\n")


def facts(*, verbose: bool) -> dict[str, str | bool | list[str]]:
    """What is known about this installation, by the names that CRI-O gives it where it has one."""
    build = _build()
    found: dict[str, str | bool | list[str]] = {
        "Version": crio.__version__,
        **{name: build[key] for name, key in _BUILD_FACTS.items() if build.get(key)},
        "PythonVersion": sys.version.split()[0],
        "Compiler": sys.implementation.name,
        "Platform": f"{sys.platform}/{_machine()}",
        "SeccompEnabled": _has_line("/proc/self/status", "Seccomp:"),
        "AppArmorEnabled": _has_line("/sys/module/apparmor/parameters/enabled", "Y"),
    }
    if verbose:
        found["Dependencies"] = _dependencies()
    return found


_BUILD_FACTS = {
    "GitCommit": "git_commit",
    "GitCommitDate": "git_commit_date",
    "GitTreeState": "git_tree_state",
    "BuildDate": "build_date",
}


def _build() -> dict[str, str]:
    """What `dev install` and the package wrote about the source; nothing in a checkout."""
    import os

    path = os.path.join(os.path.dirname(crio.__file__), "build.json")
    if not os.path.exists(path):
        return {}
    import json

    with open(path, "rb") as file:
        content = json.load(file)
    return {name: value for name, value in content.items() if isinstance(value, str)}


def _machine() -> str:
    """The architecture by the name that Go and OCI use."""
    import os

    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}.get(machine, machine)


def _has_line(path: str, start: str) -> bool:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return any(line.startswith(start) for line in file)
    except OSError:
        return False


def _dependencies() -> list[str]:
    from importlib import metadata

    found = []
    for requirement in metadata.requires("crio") or ():
        name = requirement.split(";")[0].split("[")[0]
        name = name[: next((i for i, c in enumerate(name) if c in "<>=!~ "), len(name))]
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return sorted(found)
