"""All commands and flags of `crio`."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from crio.cli.crio_commands.command import Command, Flag

DEFAULT_SOCKET = "/var/run/crio/crio.sock"
SHELLS = ("bash", "fish", "zsh")
PAGES = ("crio", "crio.conf", "crio.conf.d", "crioctl")

PROCESS_FLAGS = (
    Flag("config", "Configuration file.", ("c",), "file", "/etc/crio/crio.conf", "CONTAINER_CONFIG", file=True),
    Flag(
        "config-dir",
        "Directory of drop-in files, which are read after the configuration file in lexical order.",
        ("d",),
        "directory",
        "/etc/crio/crio.conf.d",
        "CONTAINER_CONFIG_DIR",
        file=True,
    ),
    Flag("log", "File for the daemon's log, in place of standard error.", (), "file", "", "CONTAINER_LOG", file=True),
    Flag(
        "log-format",
        "Form of log lines.",
        (),
        "format",
        "text",
        "CONTAINER_LOG_FORMAT",
        choices=("text", "json"),
    ),
    Flag(
        "runtimes",
        "Runtime handlers, name:path:root[:type[:privileged_without_host_devices[:config_path[:min_memory]]]].",
        (),
        "list",
        "",
        "CONTAINER_RUNTIMES",
        repeated=True,
    ),
    Flag(
        "profile",
        "Serve dumps and profiles of the process on 127.0.0.1, at /debug/ and /debug/pprof/profile?seconds=N.",
        (),
        "",
        "",
        "CONTAINER_PROFILE",
    ),
    Flag("profile-port", "Port of the profiles.", (), "port", "6060", "CONTAINER_PROFILE_PORT"),
    Flag(
        "profile-cpu",
        "Write a CPU profile to this file at the end, for pstats.",
        (),
        "file",
        "",
        "CONTAINER_PROFILE_CPU",
        file=True,
    ),
    Flag(
        "profile-mem",
        "Write a memory profile to this file at the end, for tracemalloc.",
        (),
        "file",
        "",
        "CONTAINER_PROFILE_MEM",
        file=True,
    ),
    Flag(
        "enable-profile-unix-socket",
        "Serve /debug/pprof/profile?seconds=N on the CRI socket too; dumps always are there.",
        (),
        "",
        "",
        "ENABLE_PROFILE_UNIX_SOCKET",
    ),
    Flag(
        "registries-conf",
        "File in place of /etc/containers/registries.conf.",
        (),
        "file",
        "",
        "CONTAINER_REGISTRIES_CONF",
        file=True,
        hidden=True,
    ),
    Flag(
        "registries-conf-dir",
        "Directory in place of /etc/containers/registries.conf.d.",
        (),
        "directory",
        "",
        "CONTAINER_REGISTRIES_CONF_DIR",
        file=True,
        hidden=True,
    ),
    Flag("address", "Address for the events of `crio publish`.", (), "address", hidden=True),
    Flag("version", "Print the version.", ("v",)),
)
"""Global flags that are no keys of crio.conf."""

_SHORT = {"root": "r", "storage-driver": "s", "log-level": "l", "timezone": "tz"}


@functools.cache
def global_flags() -> Sequence[Flag]:
    """Every global flag: the keys of crio.conf that have one, and those of the process, by name."""
    from crio.config.catalog import entries
    from crio.config.convert import STRINGS, to_toml, type_name
    from crio.config.printer import sentences

    flags = list(PROCESS_FLAGS)
    for entry in entries().values():
        if not entry.flag:
            continue
        flags.append(
            Flag(
                entry.flag,
                sentences(entry),
                aliases=(_SHORT[entry.flag],) if entry.flag in _SHORT else (),
                value="" if entry.type is bool else "list" if entry.type == STRINGS else type_name(entry),
                default=",".join(entry.default) if entry.type == STRINGS else to_toml(entry, entry.default).strip('"'),
                env=entry.env,
                repeated=entry.type == STRINGS,
                file=entry.name.endswith(("_file", "_dir", "_path", "_socket", "root", "listen")),
                choices=entry.key.choices,
            )
        )
    return tuple(sorted(flags, key=lambda flag: flag.name))


_SOCKET = Flag("socket", "Socket of the daemon.", ("s",), "path", DEFAULT_SOCKET, file=True)

COMMANDS = (
    Command(
        "config",
        "Print the configuration.",
        "config",
        description="The effective configuration as a commented file: keys with their defaults are comments. "
        "Global flags "
        "go into it, so that `crio --config FILE config` shows what a daemon with that file would use.",
        flags=lambda: (Flag("default", "Print the defaults, whatever files, variables and flags say."),),
        commands=(
            Command(
                "check",
                "Check configuration files.",
                "config_check",
                description="Reports every mistake with its line: wrong values, unknown and deprecated keys, "
                "programs and "
                "files that do not exist. With no FILE: the configuration of this machine. The exit code is 1 if the "
                "daemon would not start with it or a key is not known.",
                arguments="[FILE...]",
                file_arguments=True,
            ),
            Command(
                "diff",
                "Compare the files with the running daemon's configuration.",
                "config_diff",
                description="Shows what `systemctl reload crio` would change, and what needs a restart. For a daemon "
                "that was started with flags: `crio FLAGS config diff`. The exit code is 1 if there is a difference.",
                flags=lambda: (_SOCKET,),
            ),
            Command(
                "explain",
                "Explain a key.",
                "config_explain",
                description="Shows what a key does, its type, default, effective value, and where that value "
                "comes from.",
                arguments="KEY...",
            ),
        ),
    ),
    Command(
        "check",
        "Check the storage for damage.",
        "check",
        description="Verifies layers, images and containers. Stop the daemon before --repair; --wipe with --force"
        " is the "
        "last resort.",
        flags=lambda: (
            Flag(
                "age",
                "Layers that nothing refers to are damage if they are older than this.",
                ("a",),
                "duration",
                "24h",
            ),
            Flag("force", "Remove damaged containers too, and with --wipe everything.", ("f",)),
            Flag("repair", "Remove damaged layers and images.", ("r",)),
            Flag("quick", "Do not read the content of layers.", ("q",)),
            Flag("wipe", "Clear the storage if it cannot be repaired.", ("w",)),
        ),
    ),
    Command(
        "completion",
        "Print a completion script for a shell.",
        "completion",
        ("complete",),
        arguments="SHELL",
        words=SHELLS,
    ),
    Command("man", "Print a manual page.", "man", arguments="[PAGE]", words=PAGES),
    Command("markdown", "Print a manual page as Markdown.", "markdown", ("md",), arguments="[PAGE]", words=PAGES),
    Command(
        "status",
        "Ask a running daemon about itself.",
        flags=lambda: (_SOCKET,),
        commands=(
            Command("config", "Its configuration.", "status_config", ("c",)),
            Command(
                "containers",
                "One container.",
                "status_containers",
                ("container", "cs", "s"),
                flags=lambda: (Flag("id", "Id of the container.", ("i",), "id"),),
            ),
            Command("info", "Its storage and cgroups.", "status_info", ("i",)),
            Command("goroutines", "What its tasks and threads are doing.", "status_goroutines", ("g",)),
            Command(
                "heap",
                "Write what takes its memory to a file.",
                "status_heap",
                ("hp",),
                flags=lambda: (Flag("file", "The file.", ("f",), "file", file=True),),
            ),
        ),
    ),
    Command(
        "version",
        "Print the version.",
        "version",
        flags=lambda: (
            Flag("json", "Print JSON.", ("j",)),
            Flag("verbose", "Print the packages that this uses as well.", ("v",)),
        ),
    ),
    Command(
        "wipe",
        "Remove containers and images after a reboot or an upgrade.",
        "wipe",
        description="Looks at version_file, version_file_persist and clean_shutdown_file, and removes what they "
        "say is of no "
        "use any more. Containers of podman are left alone.",
        flags=lambda: (Flag("force", "Remove CRI-O's containers and images whatever the files say.", ("f",)),),
    ),
    Command("help", "Explain a command.", "help", ("h",), arguments="[COMMAND...]"),
    Command(
        "publish",
        "Receive an event of a VM runtime's shim.",
        "publish",
        flags=lambda: (Flag("topic", "Kind of event.", (), "topic"), Flag("namespace", "Its namespace.", (), "name")),
        hidden=True,
    ),
)

PROGRAM = Command(
    "crio",
    "Container runtime for Kubernetes.",
    "daemon",
    description="Serves the Kubernetes Container Runtime Interface. Without a command the daemon runs in the "
    "foreground.",
    flags=global_flags,
    commands=COMMANDS,
)
