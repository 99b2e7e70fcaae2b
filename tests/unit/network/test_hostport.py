from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from contract.cni_plugins import Pod, bridge_name, pod, run, subnets
from contract.pod_traffic import ask, ask_udp, tcp_server, udp_server
from crio.base.errors import FailedPrecondition, InvalidArgument
from crio.linux import nft
from crio.network import localnet
from crio.network.hostport import HostPorts
from crio.network.pod import PortMapping
from registry_server import free_port

pytestmark = pytest.mark.root

TABLE = f"crio_test_{secrets.token_hex(4)}"
"""Tables of its own: a daemon or another run of the tests may use the plain ones."""


class Node:
    """Two pods on a bridge, and what HostPorts is told of them."""

    def __init__(self, pods: list[Pod], results: list[dict[str, Any]]) -> None:
        self.pods = pods
        self.ips = [[ip["address"].partition("/")[0] for ip in result["ips"]] for result in results]
        self.gateways = [ip["gateway"] for ip in results[0]["ips"]]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    four, six = subnets()
    ipam: dict[str, Any] = {
        "type": "host-local",
        "dataDir": str(tmp_path / "leases"),
        "ranges": [[{"subnet": four}], [{"subnet": six}]],
    }
    ipam["routes"] = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    with ExitStack() as stack:
        name = stack.enter_context(bridge_name())
        config = {
            "cniVersion": "1.0.0",
            "name": name,
            "type": "bridge",
            "bridge": name,
            "isGateway": True,
            "ipam": ipam,
        }
        config["hairpinMode"] = True
        pods = [stack.enter_context(pod(str(tmp_path))) for _ in range(2)]
        yield Node(pods, [await made.add("builtin", config) for made in pods])


@pytest.fixture
async def ports() -> AsyncIterator[HostPorts]:
    made = HostPorts(TABLE)
    yield made
    await made.rebuild([])


@pytest.fixture
def port() -> int:
    """One that nobody listens on; nor on the next."""
    return free_port(2)


def _host_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


def _elements(pod_id: str) -> int:
    with nft.connect() as netlink:
        return sum(
            item.comment == pod_id
            for family in (nft.NFPROTO_IPV4, nft.NFPROTO_IPV6)
            for name in ("hostports", "hostip_hostports", "hairpins")
            for item in nft.elements(netlink, nft.Table(family, TABLE), name)
        )


async def test_a_port_leads_to_the_pod_from_everywhere(node: Node, ports: HostPorts, port: int) -> None:
    first, second = node.pods
    await ports.add(first.id, [PortMapping("tcp", 8080, port)], node.ips[0])
    with tcp_server(first.netns, 8080, b"first"):
        assert ask("127.0.0.1", port) == b"first"
        for address in (_host_address(), *node.gateways):
            assert ask(address, port) == b"first"
            assert ask(address, port, second.netns) == b"first"
            assert ask(address, port, first.netns) == b"first"
        assert ask(node.ips[0][0], port) is None
    await ports.remove(first.id)
    await ports.remove(first.id)
    assert _elements(first.id) == 0
    assert ask("127.0.0.1", port) is None


async def test_a_host_address_limits_the_mapping(node: Node, ports: HostPorts, port: int) -> None:
    await ports.add(node.pods[0].id, [PortMapping("tcp", 80, port, "127.0.0.1")], node.ips[0])
    await ports.add(node.pods[1].id, [PortMapping("tcp", 80, port, node.gateways[1])], node.ips[1])
    with tcp_server(node.pods[0].netns, 80, b"one"), tcp_server(node.pods[1].netns, 80, b"two"):
        assert ask("127.0.0.1", port) == b"one"
        assert ask(_host_address(), port) is None
        assert ask(node.gateways[1], port) == b"two"
        assert ask(node.gateways[0], port) is None


async def test_unspecified_addresses_mean_one_family(node: Node, ports: HostPorts, port: int) -> None:
    await ports.add(node.pods[0].id, [PortMapping("tcp", 80, port, "0.0.0.0")], node.ips[0])
    await ports.add(node.pods[1].id, [PortMapping("tcp", 80, port, "::")], node.ips[1])
    with tcp_server(node.pods[0].netns, 80, b"four"), tcp_server(node.pods[1].netns, 80, b"six"):
        assert ask(node.gateways[0], port) == b"four"
        assert ask(node.gateways[1], port) == b"six"


async def test_a_udp_client_finds_the_next_pod(node: Node, ports: HostPorts, port: int) -> None:
    """The flow that it goes on with must not keep the way to the old one."""
    mapping = [PortMapping("udp", 53, port)]
    with (
        udp_server(node.pods[0].netns, 53, b"old"),
        udp_server(node.pods[1].netns, 53, b"new"),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        await ports.add(node.pods[0].id, mapping, node.ips[0])
        assert ask_udp(client, node.gateways[0], port) == b"old"
        await ports.remove(node.pods[0].id)
        await ports.add(node.pods[1].id, mapping, node.ips[1])
        assert ask_udp(client, node.gateways[0], port) == b"new"


async def test_sctp_and_several_ports(ports: HostPorts, port: int) -> None:
    mappings = [PortMapping("sctp", 80, port), PortMapping("tcp", 80, port), PortMapping("tcp", 81, port + 1)]
    await ports.add("pod-s", [*mappings, PortMapping("tcp", 80, 0)], ["192.0.2.7"])
    listing = run("nft", "list", "map", "ip", TABLE, "hostports")
    for words in (f"sctp . {port}", f"tcp . {port}", f"tcp . {port + 1}"):
        assert words in listing


@pytest.mark.parametrize(
    ("one", "other"),
    [("", ""), ("", "192.0.2.1"), ("192.0.2.1", ""), ("0.0.0.0", "192.0.2.1"), ("192.0.2.1", "192.0.2.1")],
)
async def test_a_conflict_names_the_other_pod(ports: HostPorts, port: int, one: str, other: str) -> None:
    await ports.add("a" * 64, [PortMapping("tcp", 80, port, one)], ["192.0.2.7"])
    with pytest.raises(FailedPrecondition, match=rf"{port}/tcp .*bbbbbbbbbbbb: pod aaaaaaaaaaaa has it"):
        await ports.add("b" * 64, [PortMapping("tcp", 80, port, other)], ["192.0.2.8"])
    assert _elements("b" * 64) == 0
    await ports.add("b" * 64, [PortMapping("udp", 80, port, other)], ["192.0.2.8"])


@pytest.mark.parametrize(
    "mapping",
    [
        PortMapping("tcp", 80, 65536),
        PortMapping("tcp", 0, 80),
        PortMapping("icmp", 80, 80),
        PortMapping("tcp", 80, 80, "localhost"),
    ],
)
async def test_what_is_no_mapping_is_refused(ports: HostPorts, mapping: PortMapping) -> None:
    with pytest.raises(InvalidArgument, match="cannot map host port"):
        await ports.add("pod", [mapping], ["192.0.2.7"])
    assert _elements("pod") == 0


async def test_one_pod_may_not_ask_twice_for_different_things(ports: HostPorts, port: int) -> None:
    same = PortMapping("tcp", 80, port)
    with pytest.raises(InvalidArgument, match="twice"):
        await ports.add("pod", [same, PortMapping("tcp", 81, port)], ["192.0.2.7"])
    await ports.add("pod", [same, same], ["192.0.2.7"])
    assert _elements("pod") == 2  # the port and its hairpin


async def test_rebuild_keeps_the_living_and_drops_the_rest(node: Node, ports: HostPorts, port: int) -> None:
    first, second = node.pods
    await ports.add("gone", [PortMapping("tcp", 80, port + 1)], ["192.0.2.7"])
    await ports.add(first.id, [PortMapping("tcp", 80, port)], node.ips[0])
    later = HostPorts(TABLE)
    living = [
        (first.id, [PortMapping("tcp", 80, port)], node.ips[0]),
        (second.id, [PortMapping("tcp", 80, port)], node.ips[1]),
    ]
    with tcp_server(first.netns, 80, b"first"):
        await later.rebuild(living)
        assert ask("127.0.0.1", port) == b"first"
        assert _elements(first.id) > 0
        assert _elements(second.id) == _elements("gone") == 0
        run("nft", "delete", "table", "ip", TABLE)
        assert ask("127.0.0.1", port) is None
        await later.rebuild(living)
        assert ask("127.0.0.1", port) == b"first"
    await later.remove(first.id)
    await later.rebuild([])
    assert ask("127.0.0.1", port) is None


async def test_the_tables_of_another_daemon_are_left_alone(node: Node, ports: HostPorts, port: int) -> None:
    first = node.pods[0]
    table = f"{TABLE}_other"
    other = HostPorts(table)
    with tcp_server(first.netns, 80, b"first"):
        await other.rebuild([(first.id, [PortMapping("tcp", 80, port)], node.ips[0])])
        await ports.rebuild([])
        assert ask("127.0.0.1", port) == b"first"
        await ports.add("third", [PortMapping("tcp", 80, port + 1)], ["192.0.2.7"])
        assert table in run("nft", "list", "tables")
        await other.remove(first.id)
        assert ask("127.0.0.1", port) is None
    # With the last mapping the tables go.
    assert table not in run("nft", "list", "tables")
    assert _elements("third") > 0
    await ports.remove("third")
    assert TABLE not in run("nft", "list", "tables").split()


async def test_mappings_of_a_cancelled_add_are_removed(ports: HostPorts, port: int) -> None:
    """A pod's start fails elsewhere while its ports are being mapped."""
    await ports.rebuild([])
    await ports.add("other", [PortMapping("tcp", 80, port + 1)], ["192.0.2.8"])
    with nft.connect():
        # The change waits for the socket that is lent here.
        adding = asyncio.create_task(ports.add("pod", [PortMapping("tcp", 80, port)], ["192.0.2.7"]))
        for _ in range(10):
            await asyncio.sleep(0)
        adding.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await adding
    await ports.remove("pod")
    assert _elements("pod") == 0
    await ports.add("next", [PortMapping("tcp", 80, port)], ["192.0.2.9"])


async def test_rebuild_leaves_out_what_is_no_mapping(
    ports: HostPorts, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody had looked at it: host ports were another's business when the pod was made."""
    wrong, right = PortMapping("tcp", 0, port), PortMapping("tcp", 80, port)
    await ports.rebuild([("wrong", [wrong], ["192.0.2.7"]), ("right", [right], ["192.0.2.8"])])
    assert "pod wrong stays without host ports" in caplog.text
    assert (_elements("wrong"), _elements("right")) == (0, 2)


async def test_before_a_rebuild_remove_asks_the_kernel(ports: HostPorts, port: int) -> None:
    await ports.add("pod", [PortMapping("tcp", 80, port)], ["192.0.2.7"])
    await HostPorts(TABLE).remove("pod")
    assert _elements("pod") == 0


async def test_pods_can_not_reach_the_hosts_own_ports(node: Node, ports: HostPorts, port: int) -> None:
    """route_localnet, which host ports on 127.0.0.1 need, must not open what listens there (CVE-2020-8558)."""
    first = node.pods[0]
    await ports.add(first.id, [PortMapping("tcp", 80, port)], node.ips[0])
    with socket.create_server(("127.0.0.1", 0)) as secret:
        # Should nobody come, the test is to fail and not to wait.
        secret.settimeout(120)
        first.run("ip", "address", "del", "127.0.0.1/8", "dev", "lo")
        first.run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
        first.run(
            "ip", "route", "replace", "127.0.0.0/8", "via", node.gateways[0], "dev", "eth0", "src", node.ips[0][0]
        )
        first.run("ip", "rule", "add", "pref", "1", "lookup", "main")
        assert "via" in first.run("ip", "route", "get", "127.0.0.1")
        with ThreadPoolExecutor() as executor:
            executor.submit(_answer_one, secret)
            assert ask("127.0.0.1", secret.getsockname()[1], first.netns, timeout=2) is None
            # Proof that it is the rule which holds them off.
            run("nft", "delete", "table", "ip", localnet.TABLE.name)
            assert ask("127.0.0.1", secret.getsockname()[1], first.netns) == b"secret"


def _answer_one(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.sendall(b"secret")
