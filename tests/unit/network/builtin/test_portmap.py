from __future__ import annotations

import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from contract.cni_plugins import KINDS, Pod, bridge_name, chained, pod, subnets
from contract.pod_traffic import ask, ask_udp, tcp_server, udp_server
from crio.linux import nft
from crio.network.builtin import portmap
from crio.network.plugin import PluginFailed
from registry_server import free_port

pytestmark = pytest.mark.root


@pytest.fixture
async def attached(tmp_path: Path) -> AsyncIterator[tuple[Pod, dict[str, Any]]]:
    """A pod on a bridge, and the result of that."""
    four, six = subnets()
    ipam = {"type": "host-local", "dataDir": str(tmp_path / "leases"), "routes": [{"dst": "0.0.0.0/0"}]}
    with ExitStack() as stack:
        name = stack.enter_context(bridge_name())
        config = {"cniVersion": "1.0.0", "name": name, "type": "bridge", "bridge": name, "isGateway": True}
        config |= {"hairpinMode": True, "ipam": {**ipam, "ranges": [[{"subnet": four}], [{"subnet": six}]]}}
        made = stack.enter_context(pod(str(tmp_path)))
        yield made, await made.add("builtin", config)


def _config(*mappings: dict[str, Any]) -> dict[str, Any]:
    return {
        "cniVersion": "1.0.0",
        "name": "ports",
        "type": "portmap",
        "capabilities": {"portMappings": True},
        "runtimeConfig": {"portMappings": list(mappings)},
    }


def _mapping(port: int, protocol: str = "tcp", **more: str) -> dict[str, Any]:
    return {"hostPort": port, "containerPort": 8080, "protocol": protocol, **more}


def _rules(made: Pod) -> int:
    saved = [subprocess.run([f"{tool}-save", "-t", "nat"], capture_output=True, text=True, check=False).stdout
             for tool in ("iptables", "ip6tables")]  # fmt: skip
    count = sum(text.count(made.id) for text in saved)
    with nft.connect() as netlink:
        for family in (nft.NFPROTO_IPV4, nft.NFPROTO_IPV6):
            for chain in ("hostports", "masquerading"):
                count += len(nft.rules(netlink, nft.Table(family, portmap.TABLE), chain, containing=made.id.encode()))
    return count


@pytest.mark.parametrize("kind", KINDS)
async def test_ports_lead_to_the_pod_until_delete(kind: str, attached: tuple[Pod, dict[str, Any]]) -> None:
    made, result = attached
    port = free_port()
    config = chained(_config(_mapping(port)), result)
    assert await made.add(kind, config) == result
    with tcp_server(made.netns, 8080, b"pod"):
        assert ask("127.0.0.1", port) == b"pod"
        assert ask(result["ips"][0]["gateway"], port) == b"pod"
        assert ask(result["ips"][0]["gateway"], port, made.netns) == b"pod"
        if kind == "builtin":
            # The program of release 1.1.1 looks for IPv4 rules among those of IPv6.
            await made.check(kind, config)
        assert _rules(made) > 0
        await made.delete(kind, config)
        await made.delete(kind, config)
        assert ask("127.0.0.1", port) is None
    assert _rules(made) == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_a_host_address_limits_the_mapping(kind: str, attached: tuple[Pod, dict[str, Any]]) -> None:
    made, result = attached
    port, gateway = free_port(), result["ips"][0]["gateway"]
    config = chained(_config(_mapping(port, hostIP=gateway)), result)
    await made.add(kind, config)
    with tcp_server(made.netns, 8080, b"pod"):
        assert ask(gateway, port) == b"pod"
        assert ask("127.0.0.1", port) is None
    await made.delete(kind, config)


async def test_ipv6_ports(attached: tuple[Pod, dict[str, Any]]) -> None:
    """Only built in: Debian's ip6tables has no masquerading on every kernel."""
    made, result = attached
    port = free_port()
    config = chained(_config(_mapping(port, hostIP="::")), result)
    await made.add("builtin", config)
    with tcp_server(made.netns, 8080, b"pod"):
        assert ask(result["ips"][1]["gateway"], port) == b"pod"
        assert ask("127.0.0.1", port) is None
    await made.delete("builtin", config)


async def test_a_udp_client_that_came_too_early_finds_the_pod(attached: tuple[Pod, dict[str, Any]]) -> None:
    made, result = attached
    port, gateway = free_port(), result["ips"][0]["gateway"]
    config = chained(_config(_mapping(port, "udp")), result)
    with udp_server(made.netns, 8080, b"pod"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.1)
        client.sendto(b"too early", (gateway, port))
        await made.add("builtin", config)
        client.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            assert ask_udp(again, gateway, port) == b"pod"
    await made.delete("builtin", config)


@pytest.mark.parametrize("kind", KINDS)
async def test_without_mappings_nothing_is_made(kind: str, attached: tuple[Pod, dict[str, Any]]) -> None:
    made, result = attached
    config = chained(_config(), result)
    assert await made.add(kind, config) == result
    await made.check(kind, config)
    await made.delete(kind, config)
    assert _rules(made) == 0


async def test_check_notices_lost_rules(attached: tuple[Pod, dict[str, Any]]) -> None:
    made, result = attached
    config = chained(_config(_mapping(free_port())), result)
    await made.add("builtin", config)
    await made.delete("builtin", config)
    with pytest.raises(PluginFailed, match="missing"):
        await made.check("builtin", config)


@pytest.mark.parametrize("kind", KINDS)
async def test_it_must_come_after_another_plug_in(kind: str, attached: tuple[Pod, dict[str, Any]]) -> None:
    with pytest.raises(PluginFailed, match="portmap ADD"):
        await attached[0].add(kind, _config(_mapping(free_port())))


@pytest.mark.parametrize(
    "mapping",
    [_mapping(0), _mapping(70000), _mapping(80, "ipx"), _mapping(80, hostIP="here"), {"hostPort": 80}],
)
async def test_a_wrong_mapping_is_refused(mapping: dict[str, Any], attached: tuple[Pod, dict[str, Any]]) -> None:
    made, result = attached
    with pytest.raises(PluginFailed, match="port mapping is wrong"):
        await made.add("builtin", chained(_config(mapping), result))
    assert _rules(made) == 0


@pytest.mark.parametrize("change", [{"backend": "iptables"}, {"conditionsV4": ["-s", "1.2.3.4"]}, {"masqAll": True}])
def test_what_only_the_program_does_is_left_to_it(change: dict[str, Any]) -> None:
    assert portmap.knows(_config())
    assert not portmap.knows(_config() | change)
