"""What is in a container's bundle of the commands that are run in it, and what a killed daemon has left there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Callable, Collection, Iterator, Sequence

import msgspec

from crio.base.errors import CrioError, DataLoss
from crio.base.files import read_bounded, write_new
from crio.base.jsontext import UNREADABLE
from crio.linux.process_tree import kill_tree

_CONFIG_LIMIT = 8 << 20
_STARTING_LOOK = 1.0
_STARTING_LOOKS = 10
_PREFIX = "exec-"


class _Config(msgspec.Struct):
    process: dict[str, msgspec.Raw]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Config)


def process_document(config: bytes, command: Sequence[str], *, terminal: bool, cpus: Collection[int] = ()) -> bytes:
    """The `process` of a container's config.json with another command: same user, rights and environment.

    `cpus` are told to the runtime as `execCPUAffinity` (OCI runtime spec 1.2); those that do not know it ignore it.
    Raises DataLoss if the specification is damaged.
    """
    try:
        process = dict(_decoder.decode(config).process)
    except UNREADABLE as error:
        raise DataLoss(f"cannot read the container's specification: {error}; recreate the container") from None
    process["args"] = msgspec.Raw(_encoder.encode(list(command)))
    process["terminal"] = msgspec.Raw(b"true" if terminal else b"false")
    process.pop("consoleSize", None)
    if cpus:
        text = ",".join(map(str, sorted(cpus)))
        process["execCPUAffinity"] = msgspec.Raw(_encoder.encode({"initial": text, "final": text}))
    return _encoder.encode(process)


class ExecFiles:
    """The files of one command: what to run, and the pid that the runtime writes."""

    def __init__(self, bundle: str, command: Sequence[str], *, terminal: bool, cpus: Collection[int] = ()) -> None:
        stem = _new_stem(bundle)
        self.process, self.pid = f"{stem}.json", f"{stem}.pid"
        config = read_bounded(os.path.join(bundle, "config.json"), _CONFIG_LIMIT)
        write_new(self.process, process_document(config, command, terminal=terminal, cpus=cpus))

    def read_pid(self) -> int:
        """The process' pid as the host sees it; 0 before the runtime has started it."""
        return _read_pid(self.pid)

    def remove(self) -> None:
        _unlink(self.process, self.pid)


@contextlib.contextmanager
def noted(bundle: str, pid: int) -> Iterator[None]:
    """While this is open, a daemon that comes after a kill of this one finds the command by `leftovers`."""
    path = f"{_new_stem(bundle)}.pid"
    write_new(path, str(pid).encode())
    try:
        yield
    finally:
        _unlink(path)


def leftovers(bundle: str) -> set[str]:
    """The commands that a killed daemon was starting, or waiting for; see `end_leftovers`."""
    names = (name for name in os.listdir(bundle) if name.startswith(_PREFIX))
    return {os.path.join(bundle, os.path.splitext(name)[0]) for name in names}


async def end_leftovers(left: Collection[str], is_ours: Callable[[int], bool]) -> None:
    """End these commands: who asked for them has lost the daemon, and nobody else limits their time.

    `is_ours` tells whether a pid is still one of the container's. A command that is just being started is waited for.
    """
    for _ in range(_STARTING_LOOKS):
        for stem in left:
            if pid := _read_pid(f"{stem}.pid"):
                if is_ours(pid):
                    await asyncio.to_thread(kill_tree, pid)
                _unlink(f"{stem}.json", f"{stem}.pid")
        left = [stem for stem in left if os.path.exists(f"{stem}.json")]
        if not left:
            return
        await asyncio.sleep(_STARTING_LOOK)
    for stem in left:
        _unlink(f"{stem}.json", f"{stem}.pid")


def _new_stem(bundle: str) -> str:
    return os.path.join(bundle, _PREFIX + secrets.token_hex(6))


def _read_pid(path: str) -> int:
    try:
        return int(read_bounded(path, 32))
    except (OSError, ValueError, CrioError):
        return 0


def _unlink(*paths: str) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
