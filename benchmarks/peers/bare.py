"""The parts that every daemon uses, by hand: an OCI runtime on a bundle, CNI plug-ins, nothing around them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.scratch import Scratch
from crio.linux import namespaces
from oci_bundle import make_rootfs

_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


class BareRuntime:
    """crun or runc on bundles made from the config.json that this project writes: the same work, by hand.

    The root file system is a plain directory, and the pod's files and namespaces are the container's own.
    """

    def __init__(self, scratch: Scratch, runtime: str, template: Path) -> None:
        self.directory = scratch.directory(f"bare-{runtime}")
        self._program = shutil.which(runtime) or f"/usr/bin/{runtime}"
        self._root = str(self.directory / "run")
        self._cgroup = scratch.cgroup
        self._rootfs = make_rootfs(str(self.directory / "rootfs"))
        self._spec: dict[str, Any] = json.loads(template.read_text())
        self._spec["root"]["path"] = self._rootfs
        for namespace in self._spec["linux"]["namespaces"]:
            namespace.pop("path", None)
        for mount in self._spec["mounts"]:
            if mount.get("source", "").startswith(str(scratch.root)):
                mount["source"] = self._stand_in(mount)
        self._number = 0

    def _stand_in(self, mount: dict[str, Any]) -> str:
        """What takes the place of a pod's file or directory, as an empty one of its own."""
        path = self.directory / os.path.basename(mount["destination"])
        if mount["destination"] == "/dev/shm":
            path.mkdir(exist_ok=True)
        else:
            path.touch()
        return str(path)

    def bundle(self) -> str:
        """The id of a new container, whose bundle is ready."""
        self._number += 1
        container = f"bare{self._number}"
        directory = self.directory / container
        directory.mkdir()
        self._spec["linux"]["cgroupsPath"] = f"{self._cgroup}/{container}"
        (directory / "config.json").write_text(json.dumps(self._spec))
        process = self._spec["process"] | {"args": ["/bin/true"]}
        (directory / "process.json").write_text(json.dumps(process))
        return container

    def create(self, container: str) -> None:
        directory = self.directory / container
        self._run("create", "--bundle", str(directory), "--pid-file", str(directory / "pid"), container)

    def start(self, container: str) -> None:
        self._run("start", container)

    def exec(self, container: str) -> None:
        self._run("exec", "--process", str(self.directory / container / "process.json"), container)

    def kill(self, container: str) -> None:
        """SIGKILL, and the end of the process."""
        pidfd = os.pidfd_open(int((self.directory / container / "pid").read_text()))
        try:
            self._run("kill", container, "KILL")
            select.select([pidfd], [], [], 10)
        finally:
            os.close(pidfd)

    def delete(self, container: str) -> None:
        # The benchmark is a subreaper: what the runtime leaves to it must be reaped, or it is not gone.
        pid = int((self.directory / container / "pid").read_text())
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        self._run("delete", container)

    def clean_up(self, container: str) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self._run("delete", "--force", container)

    def _run(self, *arguments: str) -> None:
        # Not subprocess.run: its pipes and threads would be measured too, and a container would keep them open.
        null = os.open(os.devnull, os.O_RDWR)
        try:
            argv = [self._program, "--root", self._root, *arguments]
            actions = [(os.POSIX_SPAWN_DUP2, null, target) for target in (0, 1, 2)]
            pid = os.posix_spawn(argv[0], argv, _ENVIRONMENT, file_actions=actions)
        finally:
            os.close(null)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code != 0:
            raise subprocess.CalledProcessError(code, argv)


class BareNetwork:
    """The conflist's plug-ins as programs, one after the other, in a network namespace made for it."""

    def __init__(self, scratch: Scratch) -> None:
        self._conflist: dict[str, Any] = json.loads((scratch.network_directory / "10-bench.conflist").read_text())
        self._plugins = scratch.plugins
        self._directory = scratch.directory("bare-net")
        self._number = 0

    def namespace(self) -> str:
        """The path of a new namespace with loopback up."""
        self._number += 1
        path = str(self._directory / f"ns{self._number}")
        namespaces.pin({"net": path})
        return path

    def add(self, namespace: str) -> bytes:
        """The chain's result."""
        result = b""
        for plugin in self._conflist["plugins"]:
            result = self._call("ADD", plugin, namespace, result)
        return result

    def delete(self, namespace: str, result: bytes) -> None:
        for plugin in reversed(self._conflist["plugins"]):
            self._call("DEL", plugin, namespace, result)

    def remove(self, namespace: str) -> None:
        namespaces.unpin(namespace)

    def _call(self, verb: str, plugin: dict[str, Any], namespace: str, previous: bytes) -> bytes:
        document = plugin | {name: self._conflist[name] for name in ("name", "cniVersion")}
        document.pop("capabilities", None)
        if previous:
            document["prevResult"] = json.loads(previous)
        environment = _ENVIRONMENT | {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": os.path.basename(namespace),
            "CNI_NETNS": namespace,
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": "",
            "CNI_PATH": self._plugins,
        }
        program = os.path.join(self._plugins, str(plugin["type"]))
        done = subprocess.run(
            [program], input=json.dumps(document).encode(), capture_output=True, env=environment, check=True
        )
        return done.stdout
