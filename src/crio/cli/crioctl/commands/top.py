"""crioctl top"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl import names, table, usage
from crio.cli.crioctl.arguments import seconds
from crio.cli.crioctl.session import Session, with_session
from crio.cli.crioctl.units import human_size, truncated

HEADER = ("POD", "CONTAINER", "ID", "CPU %", "MEM", "RSS", "DISK")
SORTS = ("cpu", "mem", "name")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-d", "--delay", metavar="TIME", type=seconds, default=2.0, help="between two looks (default: 2)"
    )
    parser.add_argument(
        "-n", "--iterations", metavar="N", type=int, default=0, help="end after N looks (default: never)"
    )
    parser.add_argument("-p", "--pod", metavar="POD", default="", help="only this pod (id or name)")
    parser.add_argument("--sort", choices=SORTS, default="cpu", help="order of the lines (default: cpu)")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    wanted = pb.ContainerStatsFilter()
    if args.pod:
        wanted.pod_sandbox_id = await names.pod_id(session, args.pod)
    session.endless = True
    before: dict[str, usage.Sample] = {}
    looks = 0
    with _screen() as live, _quit_key() as quit_typed:
        while True:
            stats, pods = await asyncio.gather(usage.container_stats(session, wanted), _pods(session))
            rows = _rows(stats, pods, before, args.sort)
            before = {each.attributes.id: usage.cpu_sample(each.cpu) for each in stats}
            _draw(rows, live=live)
            looks += 1
            # The first look has no CPU figures: the second follows soon.
            delay = min(args.delay, 0.5) if looks == 1 else args.delay
            if looks == args.iterations or await _typed_within(quit_typed, delay):
                return 0


@contextlib.contextmanager
def _screen() -> Iterator[bool]:
    """Whether to draw in place: on a terminal, and then on its alternate screen, so that the shell's lines stay."""
    live = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    if live:
        print("\x1b[?1049h\x1b[?25l", end="")
    try:
        yield live
    finally:
        if live:
            print("\x1b[?25h\x1b[?1049l", end="", flush=True)


@contextlib.contextmanager
def _quit_key() -> Iterator[asyncio.Event]:
    """An event for the key q, where stdin is a terminal."""
    import termios
    import tty

    typed = asyncio.Event()
    if not sys.stdin.isatty():
        yield typed
        return

    def read() -> None:
        if os.read(0, 64)[:1] in (b"q", b"Q", b""):
            typed.set()

    before = termios.tcgetattr(0)
    loop = asyncio.get_running_loop()
    try:
        tty.setcbreak(0, termios.TCSADRAIN)
        loop.add_reader(0, read)
        yield typed
    finally:
        loop.remove_reader(0)
        termios.tcsetattr(0, termios.TCSADRAIN, before)


async def _typed_within(typed: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await typed.wait()
    except TimeoutError:
        return False


async def _pods(session: Session) -> dict[str, str]:
    """`namespace/name` of the pod of each container."""
    pods, containers = await asyncio.gather(
        session.runtime.call("ListPodSandbox", pb.ListPodSandboxRequest(), pb.ListPodSandboxResponse),
        session.runtime.call("ListContainers", pb.ListContainersRequest(), pb.ListContainersResponse),
    )
    names_of = {pod.id: f"{pod.metadata.namespace}/{pod.metadata.name}" for pod in pods.items}
    return {each.id: names_of.get(each.pod_sandbox_id, "unknown") for each in containers.containers}


def _rows(
    stats: list[pb.ContainerStats], pods: dict[str, str], before: dict[str, usage.Sample], order: str
) -> list[tuple[str, ...]]:
    measured = [(usage.cpu_percent(before.get(each.attributes.id), usage.cpu_sample(each.cpu)), each) for each in stats]
    if order == "cpu":
        measured.sort(key=lambda pair: -(pair[0] or 0.0))
    elif order == "mem":
        measured.sort(key=lambda pair: -pair[1].memory.working_set_bytes.value)
    else:
        measured.sort(key=lambda pair: (pods.get(pair[1].attributes.id, ""), pair[1].attributes.metadata.name))
    return [
        (
            pods.get(each.attributes.id, "unknown"),
            each.attributes.metadata.name,
            truncated(each.attributes.id),
            usage.percent_text(percent),
            human_size(each.memory.working_set_bytes.value),
            human_size(each.memory.rss_bytes.value),
            human_size(each.writable_layer.used_bytes.value),
        )
        for percent, each in measured
    ]


def _draw(rows: list[tuple[str, ...]], *, live: bool) -> None:
    lines = table.lines([HEADER, *rows], minimum=10)
    if live:
        columns, height = os.get_terminal_size()
        lines = [f"\x1b[7m{lines[0]:<{columns}.{columns}}\x1b[0m", *(line[:columns] for line in lines[1:])][
            : height - 1
        ]
        print("\x1b[H" + "".join(f"\x1b[2K{line}\n" for line in lines) + "\x1b[J", end="")
    else:
        print("\n".join(lines))
    sys.stdout.flush()
