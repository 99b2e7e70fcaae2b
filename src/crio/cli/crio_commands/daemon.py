"""`crio` without a command: the daemon."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping

from crio.cli.crio_commands.command import Call, FlagValues
from crio.cli.crio_commands.table import PROCESS_FLAGS


def run(call: Call) -> int:
    # What is made until the daemon serves stays. Looking for garbage in it, again and again, is a tenth of the start.
    gc.disable()
    from crio.config import load

    _join_mount_namespace(os.environ.get("KUBENSMNT", ""))
    flags = {name: value for name, value in call.global_flags.items() if name not in ("help", "version")}
    loaded = load({**_from_environment(os.environ), **flags})
    for warning in loaded.warnings:
        print(f"crio: warning: {warning}", file=sys.stderr)
    from crio.daemon.main import main

    return main(loaded)


def _from_environment(environ: Mapping[str, str]) -> FlagValues:
    """Flags that are no keys of crio.conf, from their variables; `load` reads those of keys and of its own files."""
    found: dict[str, str | bool | list[str]] = {}
    for flag in PROCESS_FLAGS:
        value = environ.get(flag.env, "") if flag.env else ""
        if not value or flag.name in ("config", "config-dir", "runtimes"):
            continue
        found[flag.name] = value if flag.value else value.lower() in ("1", "t", "true")
    return found


def _join_mount_namespace(path: str) -> None:
    """Before any thread exists. The daemon can do without: then it says so and stays where it is."""
    if not path:
        return
    from crio.linux.mount_namespace import join

    try:
        join(path)
    except OSError as error:
        print(f"crio: warning: cannot join the mount namespace {path} of KUBENSMNT: {error.strerror}", file=sys.stderr)
