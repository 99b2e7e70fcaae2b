"""Faults of a storm that are not the daemon's death: plug-ins that fail or hang, and file systems without room."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

from crio.linux.mount import MNT_DETACH, mount, umount
from node import Node, cni_directory

_PLUGIN = "bridge"
_PLUGIN_SECONDS = 6
_ROOMS = {"state": "64m", "storage": "256m"}
_FULL = (0.3, 3.0)
_BETWEEN = (2.0, 10.0)
_ZEROS = bytes(16 << 10)


class Faults:
    """As long as there is no file `calm`. The node's network has to be that of programs."""

    def __init__(self, node: Node, seed: int) -> None:
        self._node = node
        self._random = random.Random(f"{seed}/faults")
        self._calm = node.root / "calm"

    @contextlib.contextmanager
    def prepared(self) -> Iterator[None]:
        """With small file systems and a plug-in of ours, before the daemon's first start."""
        node = self._node
        (node.root / "conf.d" / "20-faults.conf").write_text(f"""
[crio.network]
plugin_dirs = ["{self._plugins()}"]
cni_add_timeout = "{_PLUGIN_SECONDS}s"
cni_del_timeout = "{_PLUGIN_SECONDS}s"
""")
        mounted = []
        try:
            for name, size in _ROOMS.items():
                place = node.root / name
                place.mkdir(exist_ok=True)
                mount("tmpfs", str(place), "tmpfs", data=f"size={size}")
                mounted.append(place)
            yield
        finally:
            for place in mounted:
                umount(str(place), MNT_DETACH)

    def _plugins(self) -> Path:
        directory = self._node.root / "plugins"
        directory.mkdir()
        for path in Path(cni_directory()).iterdir():
            (directory / path.name).symlink_to(path)
        plugin = directory / _PLUGIN
        plugin.unlink()
        plugin.write_text(f"""#!/bin/sh
if [ ! -e {self._calm} ]; then
    case $(($(od -An -N2 -tu2 /dev/urandom) % 100)) in
    [0-3]) echo '{{"cniVersion": "1.0.0", "code": 11, "msg": "storm"}}'; exit 1 ;;
    [4-5]) sleep 2 ;;
    6) sleep 1000 ;;
    esac
fi
exec {cni_directory()}/{_PLUGIN} "$@"
""")
        plugin.chmod(0o755)
        return directory

    async def run(self) -> None:
        """Fill a file system now and then, until cancelled; then all is calm."""
        self._calm.unlink(missing_ok=True)
        try:
            while True:
                await asyncio.sleep(self._random.uniform(*_BETWEEN))
                place = self._node.root / self._random.choice(list(_ROOMS))
                ballast = place / "ballast"
                try:
                    await asyncio.to_thread(_fill, ballast)
                    await asyncio.sleep(self._random.uniform(*_FULL))
                finally:
                    ballast.unlink(missing_ok=True)
        finally:
            self._calm.touch()


def _fill(path: Path) -> None:
    with contextlib.suppress(OSError), open(path, "wb", buffering=0) as file:
        while True:
            file.write(_ZEROS)
