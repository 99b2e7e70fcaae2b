"""Counters of a pod's network interfaces."""

from __future__ import annotations

import msgspec

from crio.base.errors import NotFound
from crio.linux.namespaces import run_in_netns
from crio.stats.processes import read


class Interface(msgspec.Struct, frozen=True):
    """What went through one interface since it was made (proc(5), /proc/PID/net/dev)."""

    name: str
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


def read_interfaces(netns: str, pid: int) -> list[Interface]:
    """All interfaces of the network namespace but the loopback; none when it is gone.

    `pid` is any process in the namespace, or 0: then a thread has to enter it, which costs more.
    """
    if pid:
        try:
            return parse(_text(f"/proc/{pid}/net/dev"))
        except OSError:
            pass
    try:
        return parse(run_in_netns(netns, lambda: _text("/proc/thread-self/net/dev")))
    except (NotFound, OSError):
        return []


def parse(text: str) -> list[Interface]:
    """The lines of a net/dev file."""
    found = []
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        fields = [int(field) for field in rest.split()]
        if name.strip() != "lo" and len(fields) >= 12:
            found.append(Interface(name.strip(), *fields[0:4], *fields[8:12]))
    return found


def _text(path: str) -> str:
    return read(path).decode("ascii", "replace")
