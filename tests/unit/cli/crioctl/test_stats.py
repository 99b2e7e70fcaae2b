from __future__ import annotations

import json
from typing import Any

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl.usage import Sample, cpu_percent
from fake_cri import FakeCri

Crioctl = Any
POD, WEB, SIDECAR = "1a" * 32, "2c" * 32, "2d" * 32
SECOND = 10**9


def stats(identifier: str, name: str, moment: int, used: int, memory: int = 0) -> pb.ContainerStats:
    return pb.ContainerStats(
        attributes=pb.ContainerAttributes(id=identifier, metadata=pb.ContainerMetadata(name=name)),
        cpu=pb.CpuUsage(timestamp=moment, usage_core_nano_seconds=pb.UInt64Value(value=used)),
        memory=pb.MemoryUsage(working_set_bytes=pb.UInt64Value(value=memory), rss_bytes=pb.UInt64Value(value=1000)),
        writable_layer=pb.FilesystemUsage(used_bytes=pb.UInt64Value(value=2048), inodes_used=pb.UInt64Value(value=12)),
    )


def samples() -> list[pb.ListContainerStatsResponse]:
    return [
        pb.ListContainerStatsResponse(stats=[stats(WEB, "web", SECOND, 5 * SECOND), stats(SIDECAR, "log", SECOND, 0)]),
        pb.ListContainerStatsResponse(
            stats=[stats(SIDECAR, "log", 3 * SECOND, 0), stats(WEB, "web", 3 * SECOND, 8 * SECOND, 7_654_321)]
        ),
    ]


def test_table_measures_cpu_between_two_looks(cri: FakeCri, crioctl: Crioctl) -> None:
    cri.answers["ListContainerStats"] = samples()
    assert crioctl("stats", "-s", "0").out.splitlines() == [
        "CONTAINER           NAME                CPU %               MEM                 DISK                "
        "INODES              SWAP",
        "2c2c2c2c2c2c2       web                 150.00              7.654MB             2.048kB             "
        "12                  0B",
    ]


def test_all(cri: FakeCri, crioctl: Crioctl) -> None:
    cri.answers["ListContainerStats"] = samples()
    assert len(crioctl("stats", "-a", "-s", "0").out.splitlines()) == 3


def test_filters(node: FakeCri, crioctl: Crioctl) -> None:
    node.answers["ListContainerStats"] = [pb.ListContainerStatsResponse()]
    assert json.loads(crioctl("stats", "-o", "json", "-p", "shop", "--label", "a=b", "web").out) == {"stats": []}
    wanted = pb.ContainerStatsFilter(id=WEB, pod_sandbox_id=POD, label_selector={"a": "b"})
    assert node.requests("ListContainerStats") == [pb.ListContainerStatsRequest(filter=wanted)]


def test_pods(node: FakeCri, crioctl: Crioctl) -> None:
    def look(moment: int, used: int) -> pb.ListPodSandboxStatsResponse:
        return pb.ListPodSandboxStatsResponse(
            stats=[
                pb.PodSandboxStats(
                    attributes=pb.PodSandboxAttributes(id=POD, metadata=pb.PodSandboxMetadata(name="shop")),
                    linux=pb.LinuxPodSandboxStats(
                        cpu=pb.CpuUsage(timestamp=moment, usage_core_nano_seconds=pb.UInt64Value(value=used)),
                        memory=pb.MemoryUsage(working_set_bytes=pb.UInt64Value(value=1_000_000)),
                    ),
                )
            ]
        )

    node.answers["ListPodSandboxStats"] = [look(0, 0), look(SECOND, SECOND // 4)]
    lines = crioctl("statsp", "-s", "0", "shop").out.splitlines()
    assert [line.split() for line in lines] == [
        ["POD", "POD", "ID", "CPU", "%", "MEM"],
        ["shop", POD[:13], "25.00", "1MB"],
    ]


def test_top(node: FakeCri, crioctl: Crioctl) -> None:
    node.answers["ListContainerStats"] = samples()
    lines = crioctl("top", "-n", "2", "-d", "0").out.splitlines()
    assert len(lines) == 6
    assert lines[3].split() == ["POD", "CONTAINER", "ID", "CPU", "%", "MEM", "RSS", "DISK"]
    assert lines[4].split() == ["prod/shop", "web", WEB[:13], "150.00", "7.654MB", "1kB", "2.048kB"]
    assert lines[5].split()[3] == "0.00"


def test_percent() -> None:
    assert cpu_percent(None, Sample(1, 1)) is None
    assert cpu_percent(Sample(5, 1), Sample(5, 2)) is None
    assert cpu_percent(Sample(0, 0), Sample(100, 50)) == 50
    assert cpu_percent(Sample(0, 90), Sample(100, 50)) == 0
