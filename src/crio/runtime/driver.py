"""One OCI runtime program, called by its command line. Every call is bounded in time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence

import msgspec

from crio.base.errors import Internal
from crio.base.jsontext import UNREADABLE
from crio.base.process import Completed, ProcessTimeout, run
from crio.conmon.errors import RuntimeFailed, RuntimeTimeout, sentence
from crio.linux.mount import MNT_DETACH, UMOUNT_NOFOLLOW, umount, unmount_below
from crio.runtime.features import Features, known_of_crun, parse_features
from crio.runtime.program import Program

log = logging.getLogger(__name__)

CallObserver = Callable[..., None]
"""Is called with the handler's name, the call's name and its seconds, and `failed`."""

_CALL_TIMEOUT = 60.0
_PROBE_TIMEOUT = 10.0


class OciRuntime:
    """The runtime of one handler. `global_arguments` come before the command, after `--root`."""

    def __init__(
        self,
        name: str,
        path: str,
        root: str,
        *,
        systemd_cgroup: bool = False,
        exec_on_first_cpu: bool = False,
        exec_monitor_in_group: bool = False,
        observe: CallObserver | None = None,
    ) -> None:
        self.name = name
        self.path = path
        self.root = root
        self.global_arguments: Sequence[str] = ["--systemd-cgroup"] if systemd_cgroup else []
        self.is_crun = os.path.basename(path) == "crun"
        self.program = Program(path, protect=self.is_crun)
        self.hands_down_streams = self.is_crun
        """Whether `exec` gives its own standard streams to the command. Others copy, and then wait for all who hold
        the command's streams open, not only for the command."""
        self.exec_on_first_cpu = exec_on_first_cpu
        """Commands run on the first of the container's CPUs, where it has CPUs of its own (exec_cpu_affinity)."""
        self.exec_monitor_in_group = exec_monitor_in_group
        """What starts a command, and waits for it, is in the container's group too (monitor_exec_cgroup)."""
        self._observe = observe
        self._features: Features | None = None

    async def start(self, container_id: str) -> None:
        """Let the created container's process run. Raises RuntimeFailed, RuntimeTimeout."""
        await self._call("start", container_id)

    def release_start(self, container_id: str) -> None:
        """Let go of a `start` that waits for a first process that has ended: nobody else ends it.

        crun and runc write into a FIFO that the first process reads, and opening it waits for the other side.
        """
        try:
            fd = os.open(f"{self.root}/{container_id}/exec.fifo", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return
        os.close(fd)

    async def kill(self, container_id: str, number: int, *, every: bool = False) -> None:
        """Send signal `number` to the first process, or to `every` process of the container."""
        await self._call("kill", *(["--all"] if every else []), container_id, str(number))

    async def delete(self, container_id: str, *, force: bool = False) -> None:
        """Forget the container, and with `force` end it first. One that the runtime does not know is fine then."""
        state = os.path.join(self.root, container_id)
        if force and self.root:
            _unmount_protections(state)
        await self._call("delete", *(["--force"] if force else []), container_id)
        if force and self.root and os.path.isdir(state):
            # What was begun when the runtime was killed, and has no record of its own yet.
            await asyncio.to_thread(_remove_state, state)

    async def pause(self, container_id: str) -> None:
        await self._call("pause", container_id)

    async def resume(self, container_id: str) -> None:
        await self._call("resume", container_id)

    async def update(self, container_id: str, resources: bytes) -> None:
        """Change limits; `resources` is the JSON of the specification's `linux.resources`."""
        await self._call("update", "--resources", "-", container_id, stdin=resources)

    async def state(self, container_id: str) -> str:
        """The status that the runtime tells: creating, created, running, stopped (OCI runtime spec, runtime.md)."""
        done = await self._call("state", container_id)
        try:
            return msgspec.json.decode(done.stdout, type=_State).status
        except UNREADABLE as error:
            raise Internal(
                f"cannot read the state of container {container_id[:12]} from {self.name}: {error}"
            ) from None

    async def features(self) -> Features:
        """What the runtime can do, asked once. One that cannot tell is taken to do the least."""
        if self._features is None:
            try:
                done = await self._first_call("features")
                if done.returncode == 0:
                    self._features = parse_features(done.stdout, seccomp_program=self.is_crun)
                elif self.is_crun:
                    done = await self._first_call("--version")
                    self._features = known_of_crun(done.stdout)
                else:
                    self._features = Features()
            except (OSError, ProcessTimeout) as error:
                log.warning("cannot ask %s for its features: %s", self.path, error)
                self._features = Features()
        return self._features

    async def _first_call(self, argument: str) -> Completed:
        argv = [self.path, argument]
        try:
            executable = self.program.executable()
            return await run(argv, timeout=_PROBE_TIMEOUT, check=False, executable=executable, env=self.program.env)
        except OSError:
            # Something on this machine forbids to run what has no place in the file tree.
            if not self.program.give_up():
                raise
            return await run(argv, timeout=_PROBE_TIMEOUT, check=False)

    def command(self, verb: str, *arguments: str) -> list[str]:
        """A whole command line."""
        root = ["--root", self.root] if self.root else []
        return [self.path, *root, *self.global_arguments, verb, *arguments]

    async def _call(self, verb: str, *arguments: str, stdin: bytes | None = None) -> Completed:
        container_id = next(argument for argument in arguments if not argument.startswith("-"))
        what = f"{verb} container {container_id[:12]}"
        begin = time.perf_counter()
        failed = True
        try:
            executable = self.program.executable()
            done = await run(
                self.command(verb, *arguments),
                timeout=_CALL_TIMEOUT,
                stdin=stdin,
                check=False,
                executable=executable,
                env=self.program.env,
            )
            failed = done.returncode != 0
        except ProcessTimeout:
            raise RuntimeTimeout(
                f"cannot {what}: {self.name} was killed after {_CALL_TIMEOUT:g} s without an end"
            ) from None
        except OSError as error:
            raise RuntimeFailed(what, self.name, f"cannot run {self.path}: {os.strerror(error.errno or 0)}") from None
        finally:
            if self._observe is not None:
                self._observe(self.name, verb, time.perf_counter() - begin, failed=failed)
        if failed:
            raise RuntimeFailed(what, self.name, sentence(done.stderr.decode("utf-8", "replace")))
        return done


def _unmount_protections(state: str) -> None:
    """runc 1.1 mounts itself upon a file in its state directory for a moment. Killed then, it cannot remove that."""
    with contextlib.suppress(OSError):
        for name in os.listdir(state):
            if name.startswith("runc."):
                umount(os.path.join(state, name), MNT_DETACH | UMOUNT_NOFOLLOW)


def _remove_state(state: str) -> None:
    unmount_below(state)
    shutil.rmtree(state, ignore_errors=True)


class _State(msgspec.Struct):
    status: str
