"""One pod and one plug-in, for tests that hold programs and built-in plug-ins to the same behaviour."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from crio.linux import mount, namespaces, rtnetlink
from crio.linux.netlink import Netlink
from crio.network.builtin import BUILTIN
from crio.network.executable import Executable
from crio.network.plugin import ADD, CHECK, DEL, Plugin, PluginRequest

PLUGIN_DIRECTORY = "/usr/lib/cni"
KINDS = ("program", "builtin")


def plugin(kind: str, name: str) -> Plugin:
    """The program or the built-in plug-in of this name."""
    return BUILTIN[name] if kind == "builtin" else Executable(f"{PLUGIN_DIRECTORY}/{name}", (PLUGIN_DIRECTORY,))


@dataclass
class Pod:
    """A network namespace and an id, both unique."""

    directory: str
    id: str = field(default_factory=lambda: secrets.token_hex(32))

    @property
    def netns(self) -> str:
        return f"{self.directory}/netns/{self.id}"

    def request(self, verb: str, name: str, document: dict[str, Any], *, netns: bool = True) -> PluginRequest:
        return PluginRequest(verb, name, document, self.id, self.netns if netns else "", "eth0", "IgnoreUnknown=1")

    async def add(self, kind: str, document: dict[str, Any]) -> dict[str, Any]:
        output = await plugin(kind, document["type"]).call(self.request(ADD, document["type"], document), 30)
        result: dict[str, Any] = json.loads(output)
        return result

    async def delete(self, kind: str, document: dict[str, Any], *, netns: bool = True) -> None:
        request = self.request(DEL, document["type"], document, netns=netns)
        await plugin(kind, document["type"]).call(request, 30)

    async def check(self, kind: str, document: dict[str, Any]) -> None:
        await plugin(kind, document["type"]).call(self.request(CHECK, document["type"], document), 30)

    def run(self, *argv: str) -> str:
        return run("nsenter", f"--net={self.netns}", *argv)

    def reach(self, address: str) -> None:
        """Fail if the address does not answer in time; IPv6 may still look for duplicates at first."""
        for attempt in range(30):
            try:
                self.run("busybox", "ping", "-c", "1", "-W", "1", address)
            except subprocess.CalledProcessError:
                if attempt == 29:
                    raise
            else:
                return


def chained(document: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """A plug-in's configuration with the result of those before it."""
    return {**document, "prevResult": msgspec.Raw(json.dumps(result).encode())}


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@contextmanager
def pod(directory: str) -> Iterator[Pod]:
    made = Pod(directory)
    namespaces.pin({"net": made.netns})
    try:
        yield made
    finally:
        namespaces.unpin(made.netns)
        if not os.listdir(os.path.dirname(made.netns)):
            mount.unmount_below(directory)


@contextmanager
def bridge_name() -> Iterator[str]:
    """A name for a bridge that is removed in the end, with the masquerading rules of networks of that name."""
    name = f"tbr{secrets.token_hex(4)}"
    try:
        yield name
    finally:
        with Netlink() as netlink:
            link = rtnetlink.link_by_name(netlink, name)
            if link is not None:
                rtnetlink.delete_link(netlink, link.index)


def subnets() -> tuple[str, str]:
    """An IPv4 and an IPv6 subnet that no other test uses at the same time."""
    one, two = secrets.randbelow(200) + 20, secrets.randbelow(250)
    return f"10.{one}.{two}.0/24", f"fd00:{one:x}:{two:x}::/64"
