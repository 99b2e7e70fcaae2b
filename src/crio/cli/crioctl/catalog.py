"""The verbs, in the order of `crioctl --help`: name, other names, one line of help, and the module that does it."""

from __future__ import annotations

import argparse
from typing import NamedTuple, Protocol, cast

from crio.cli.crioctl.settings import Settings


class Entry(NamedTuple):
    name: str
    summary: str
    aliases: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        return "crio.cli.crioctl.commands." + self.name.replace("-", "_")


class Command(Protocol):
    """What each module in commands/ has."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the verb's options and arguments."""

    def run(self, settings: Settings, args: argparse.Namespace) -> int:
        """Do it and return the exit code. Raises CrioError."""


SECTIONS: tuple[tuple[str, tuple[Entry, ...]], ...] = (
    (
        "pods",
        (
            Entry("pods", "list pods", ("pod",)),
            Entry("runp", "run a new pod"),
            Entry("stopp", "stop pods"),
            Entry("rmp", "remove pods"),
            Entry("inspectp", "show the status of pods"),
            Entry("statsp", "show the resource use of pods"),
            Entry("metricsp", "show the metrics of pods"),
            Entry("port-forward", "forward local ports to a pod"),
        ),
    ),
    (
        "containers",
        (
            Entry("ps", "list containers"),
            Entry("run", "run a container in a new pod"),
            Entry("create", "create a container"),
            Entry("start", "start created containers"),
            Entry("stop", "stop running containers"),
            Entry("rm", "remove containers"),
            Entry("inspect", "show the status of containers"),
            Entry("logs", "show the log of a container"),
            Entry("exec", "run a command in a container"),
            Entry("attach", "attach to a running container"),
            Entry("cp", "copy files between the host and a container"),
            Entry("stats", "show the resource use of containers"),
            Entry("top", "watch the resource use of pods and containers"),
            Entry("update", "change the resources of running containers"),
            Entry("checkpoint", "checkpoint running containers"),
        ),
    ),
    (
        "images",
        (
            Entry("images", "list images", ("image", "img")),
            Entry("pull", "pull an image from a registry"),
            Entry("pulls", "list the pulls that are under way"),
            Entry("load", "load images from an archive or a directory"),
            Entry("rmi", "remove images"),
            Entry("inspecti", "show the status of images"),
            Entry("imagefsinfo", "show the use of the image file system"),
        ),
    ),
    (
        "runtime",
        (
            Entry("version", "show the version of the runtime"),
            Entry("info", "show the state of the runtime"),
            Entry("jobs", "list the operations that are under way"),
            Entry("trace", "draw what the last calls about a pod did, and how long it took"),
            Entry("doctor", "examine this machine and the daemon, and say what is wrong"),
            Entry("events", "follow the events of containers", ("event",)),
            Entry("metricdescs", "list the descriptors of metrics"),
            Entry("runtime-config", "show the runtime's configuration for the kubelet"),
            Entry("update-runtime-config", "change the runtime's configuration"),
        ),
    ),
    (
        "crioctl itself",
        (
            Entry("config", "show or set options of the client's configuration file"),
            Entry("completion", "print the completion code for a shell"),
        ),
    ),
)


def entries() -> list[Entry]:
    """All verbs in the order of the help."""
    return [entry for _, group in SECTIONS for entry in group]


def find(name: str) -> Entry | None:
    """The verb with this name or alias."""
    for entry in entries():
        if name == entry.name or name in entry.aliases:
            return entry
    return None


def load(entry: Entry) -> Command:
    """Import the verb's module."""
    import importlib  # lazy: not needed for --help

    return cast(Command, importlib.import_module(entry.module))


def parser_for(entry: Entry, command: Command) -> argparse.ArgumentParser:
    """The parser of one verb."""
    from crio.cli.crioctl.arguments import Parser  # lazy: not needed for a list of the verbs

    parser = Parser(prog=f"crioctl {entry.name}", description=f"{entry.summary[0].upper()}{entry.summary[1:]}.")
    command.configure(parser)
    return parser
