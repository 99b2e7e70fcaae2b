"""What a monitor is told, once, when it is forked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from crio.base.errors import InvalidArgument
from crio.base.process import DEFAULT_ENV
from crio.conmon.launch import CONSOLE_PLACEHOLDER
from crio.conmon.packets import PacketError, encode
from crio.conmon.record import PID_FILE

if TYPE_CHECKING:
    from crio.conmon.packets import Value


def _encode(verb: str, fields: Mapping[str, Value]) -> bytes:
    try:
        return encode(verb, fields)
    except PacketError as error:
        raise InvalidArgument(f"cannot start a monitor: {error}") from None


class MonitorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A container to be created under a new monitor.

    `bundle` is the OCI bundle and the directory of the monitor's own files: see record.py.
    `log_path` None means no log. `cgroup_paths` are existing cgroup directories, one per hierarchy, that the monitor
    moves into. `container_cgroup` is the memory cgroup to be watched for OOM kills; None finds it from the container's
    process. `log_size_max` in bytes, 0 or less is no limit. `timeout` in seconds for the runtime's `create`.
    """

    id: str
    name: str
    bundle: str
    runtime_path: str
    runtime_root: str = ""
    runtime_args: Sequence[str] = ()
    create_args: Sequence[str] = ()
    env: Mapping[str, str] = msgspec.field(default_factory=lambda: DEFAULT_ENV)
    log_path: str | None = None
    terminal: bool = False
    stdin: bool = False
    stdin_once: bool = False
    exit_dir: str = ""
    cgroup_paths: Sequence[str] = ()
    container_cgroup: str | None = None
    log_size_max: int = 0
    no_sync_log: bool = False
    log_to_journald: bool = False
    log_tag: str = ""
    log_labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    journal: str = "/run/systemd/journal/socket"
    timeout: float = 240.0

    def argv(self) -> list[str]:
        """The runtime's command line; the monitor puts in the console socket."""
        root = ["--root", self.runtime_root] if self.runtime_root else []
        console = ["--console-socket", CONSOLE_PLACEHOLDER] if self.terminal else []
        pid_file = ["--pid-file", f"{self.bundle}/{PID_FILE}"]
        create = ["create", "--bundle", self.bundle, *pid_file, *console, *self.create_args, self.id]
        return [self.runtime_path, *root, *self.runtime_args, *create]

    def packet(self, *, hold: bool = False) -> bytes:
        """For the zygote. With `hold` the monitor says `forked` and waits for `go` before it runs anything."""
        return _encode(
            "monitor",
            {
                "id": self.id,
                "name": self.name,
                "bundle": self.bundle,
                "argv": self.argv(),
                "env": [f"{name}={value}" for name, value in self.env.items()],
                "log_path": self.log_path or "",
                "terminal": self.terminal,
                "stdin": self.stdin,
                "stdin_once": self.stdin_once,
                "exit_dir": self.exit_dir,
                "cgroup_paths": list(self.cgroup_paths),
                "container_cgroup": self.container_cgroup or "",
                "log_size_max": self.log_size_max,
                "no_sync_log": self.no_sync_log,
                "log_to_journald": self.log_to_journald,
                "log_tag": self.log_tag,
                "log_labels": [f"{name}={value}" for name, value in self.log_labels.items()],
                "journal": self.journal,
                "log_news": True,
                "timeout_ms": int(self.timeout * 1000),
                "hold": hold,
            },
        )


class ExecSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A process to be started in a container by a detached `runtime exec`, with a monitor as its parent.

    `argv` is the runtime's whole command line with `--detach` and `--pid-file <pid_file>`, and for a terminal
    `--console-socket` followed by CONSOLE_PLACEHOLDER. `directory` is where the console socket may be made.
    `cgroup_paths` as in MonitorSpec; `cpus` are the only ones that monitor and process may run on, where given.
    """

    argv: Sequence[str]
    pid_file: str
    directory: str
    terminal: bool
    env: Mapping[str, str] = msgspec.field(default_factory=lambda: DEFAULT_ENV)
    cgroup_paths: Sequence[str] = ()
    cpus: Sequence[int] = ()
    timeout: float = 60.0

    def packet(self) -> bytes:
        return _encode(
            "exec",
            {
                "argv": list(self.argv),
                "env": [f"{name}={value}" for name, value in self.env.items()],
                "pid_file": self.pid_file,
                "directory": self.directory,
                "terminal": self.terminal,
                "cgroup_paths": list(self.cgroup_paths),
                "cpus": [str(number) for number in self.cpus],
                "timeout_ms": int(self.timeout * 1000),
            },
        )
