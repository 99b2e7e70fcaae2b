"""Run in the guest, once in each boot: the machine is switched off with pods running, and comes up without them."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from images import busybox_layout
from installed_node import InstalledNode, install, run

AGAIN = 194
"""The exit code that asks for another boot."""
LEASES = Path("/var/lib/cni/networks")


def leases() -> list[str]:
    """Addresses that are given out."""
    return [path.name for path in LEASES.glob("*/*") if path.name[0].isdigit() or ":" in path.name]


async def before() -> int:
    """Three pods with a container each, and no farewell."""
    with tempfile.TemporaryDirectory() as scratch:
        install(Path(scratch))
        run("systemctl", "daemon-reload")
        run("systemctl", "enable", "--now", "crio")
        node = InstalledNode()
        await node.ready()
        await node.load(busybox_layout(f"{scratch}/layout"))
    for number in range(3):
        pod_config = node.pod_config(f"pod{number}")
        pod = await node.run_pod(pod_config)
        # systemd stops containers when the machine goes down, and waits for those that do not obey.
        command = ["sh", "-c", "trap exit TERM; sleep 1000 & wait"]
        container = await node.create(pod, node.container_config(command), pod_config)
        await node.start_container(container)
    assert len(leases()) >= 3, leases()
    await node.close_client()
    print("three pods run; booting again", flush=True)
    return AGAIN


async def after() -> int:
    """Nothing of them is left, and their names and addresses can be used again."""
    node = InstalledNode()
    await node.ready()
    assert await node.pods() == []
    assert await node.containers() == []
    assert leases() == [], leases()
    for name in ("netns", "ipcns", "utsns"):
        assert not os.path.isdir(f"/var/run/{name}") or os.listdir(f"/var/run/{name}") == []
    pod_config = node.pod_config("pod0")
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, node.container_config(["sleep", "1000"]), pod_config)
    await node.start_container(container)
    assert (await node.exec(container, "echo", "here")).stdout == b"here\n"
    await node.remove_pod(pod)
    await node.close_client()
    log = run("journalctl", "-u", "crio", "-b", "--no-pager")
    assert "Traceback" not in log, log
    print("1 passed, 0 failed: nothing of the last boot is left")
    return 0


sys.exit(asyncio.run(before() if os.environ["BOOT"] == "1" else after()))
