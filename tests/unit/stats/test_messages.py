"""Figures as messages, whole and in parts."""

from __future__ import annotations

from crio.api.runtime.v1 import api_pb2 as pb
from crio.linux.cgroup import Pressure, Use
from crio.stats import messages
from crio.stats.network import Interface
from crio.storage.usage import Usage
from small_node import make_container, make_sandbox

USE = Use(cpu=9, memory=1000, working_set=700, rss=500, faults=3, major_faults=1, limit=2000, swap=10, swap_limit=2500)


def test_a_container_is_the_sum_of_its_parts() -> None:
    parts = (
        messages.container_attributes(make_container(0xC1, 7)),
        messages.container_use(USE, 5, 77),
        messages.writable_layer(Usage(4096, 3), "/graph", 66),
    )
    stats = pb.ContainerStats.FromString(b"".join(parts))
    assert stats.attributes.id == "c1" * 32
    assert (stats.cpu.timestamp, stats.cpu.usage_core_nano_seconds.value, stats.cpu.usage_nano_cores.value) == (
        77,
        9,
        5,
    )
    assert (stats.memory.working_set_bytes.value, stats.memory.available_bytes.value) == (700, 1300)
    assert (stats.swap.swap_usage_bytes.value, stats.swap.swap_available_bytes.value) == (10, 490)
    layer = stats.writable_layer
    assert (layer.timestamp, layer.fs_id.mountpoint, layer.used_bytes.value, layer.inodes_used.value) == (
        66,
        "/graph",
        4096,
        3,
    )


def test_what_is_not_known_is_not_told() -> None:
    stats = pb.ContainerStats.FromString(messages.container_use(Use(), None, 77))
    assert stats.cpu.timestamp == stats.memory.timestamp == stats.swap.timestamp == 77
    assert not stats.cpu.HasField("usage_core_nano_seconds")
    assert not stats.memory.HasField("working_set_bytes")
    assert not stats.swap.HasField("swap_usage_bytes")
    unlimited = pb.ContainerStats.FromString(messages.container_use(Use(cpu=1, memory=5), None, 77))
    assert not unlimited.memory.HasField("available_bytes")
    assert not unlimited.cpu.HasField("usage_nano_cores")


def test_pressure() -> None:
    pressure = Pressure(1.0, 2.0, 3.0, 4, 5.0, 6.0, 7.0, 8)
    psi = pb.PsiStats()
    messages.fill_pressure(psi, pressure)
    assert (psi.Some.Avg10, psi.Some.Avg300, psi.Some.Total) == (1.0, 3.0, 4)
    assert (psi.Full.Avg60, psi.Full.Total) == (6.0, 8)


def test_a_pods_identity_and_network() -> None:
    stats = pb.PodSandboxStats.FromString(messages.sandbox_attributes(make_sandbox(7)))
    assert (stats.attributes.id, stats.attributes.metadata.name) == ("07" * 32, "pod7")
    network = pb.NetworkUsage()
    messages.fill_network(network, [Interface("eth0", 1, 2, 3, 4, 5, 6, 7, 8), Interface("net1", *range(8))], 77)
    assert (network.default_interface.name, network.default_interface.rx_bytes.value) == ("eth0", 1)
    assert (network.default_interface.tx_bytes.value, network.default_interface.tx_errors.value) == (5, 7)
    assert [interface.name for interface in network.interfaces] == ["net1"]


def test_the_sum_of_a_pod() -> None:
    both = messages.total([USE, USE, Use()])
    assert (both.cpu, both.memory, both.working_set, both.limit) == (18, 2000, 1400, None)
    assert messages.total([]).cpu == 0
