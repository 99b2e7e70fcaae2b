"""A place of its own for a kubelet: it leaves nothing in the machine's packet filter, links, mounts and /var/lib."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET = 0x40000000
NODE_ADDRESS = "192.0.2.10"
NODE_DISK = 1 << 30
"""Bytes."""


@contextmanager
def own_network() -> Iterator[None]:
    """A network namespace for this thread and all that it starts, with one link, on which NODE_ADDRESS is.

    It goes, with its tables, when the last process in it has ended.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "cannot make a network namespace")
        try:
            for line in (
                "link set lo up",
                "link add node type bridge",
                f"address add {NODE_ADDRESS}/24 dev node",
                "link set node up",
                "route add default dev node",
            ):
                subprocess.run(["ip", *line.split()], check=True)
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            yield
        finally:
            if libc.setns(before, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "cannot return to the machine's network namespace")
    finally:
        os.close(before)


@contextmanager
def own_mounts(root: Path) -> Iterator[Path]:
    """Make `root`, and in it `n`, a small file system for a node, and `mnt`, a mount namespace whose /run, /var/lib and
    /var/log are empty but for /run/crio, which is `n/run`.

    cAdvisor looks for the daemon at /var/run/crio/crio.sock and nowhere else; device plug-ins, links to logs and the
    lock of iptables have fixed places, too. The daemon joins the namespace by KUBENSMNT, the kubelet by nsenter.
    """
    (root / "n").mkdir(parents=True)
    namespace = root / "mnt"
    namespace.touch()
    # A namespace can be pinned only on a mount that is private to it.
    subprocess.run(["mount", "--bind", "--make-private", root, root], check=True)
    # Its size is what thresholds of the kubelet are shares of, whatever else is on this machine.
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=755,size={NODE_DISK}", "node", root / "n"], check=True)
    (root / "n" / "run").mkdir()
    script = f"""
        for place in /run /var/lib /var/log; do mount -t tmpfs none $place; done
        mkdir /run/crio /run/lock /var/lib/kubelet
        mount --bind {root}/n/run /run/crio
        mount --make-rshared /
    """
    unshare = ["unshare", f"--mount={namespace}", "--propagation=private", "sh", "-ec", script]
    subprocess.run(unshare, check=True)
    try:
        yield root
    finally:
        for mounted in (namespace, root / "n", root):
            subprocess.run(["umount", "-l", mounted], check=False)
        shutil.rmtree(root, ignore_errors=True)
