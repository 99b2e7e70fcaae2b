"""The verbose texts: JSON with the names that debug tools read."""

from __future__ import annotations

import json
from pathlib import Path

from crio.conmon.exitrecord import ExitRecord
from crio.cri import info
from crio.image.records import ImageInfo
from small_node import make_container, make_sandbox


def test_of_a_sandbox() -> None:
    item = make_sandbox(1, pause_pid=42, namespaces={"net": "/run/netns/x"}, network_result=b'{"ips":[]}')
    text = json.loads(info.sandbox_info(item, "registry.k8s.io/pause:3.10")["info"])
    assert (text["image"], text["pid"]) == ("registry.k8s.io/pause:3.10", 42)
    assert text["namespaces"] == {"net": "/run/netns/x"}
    assert text["cniResult"] == {"ips": []}
    spec = text["runtimeSpec"]
    assert spec["hostname"] == "pod1"
    assert spec["annotations"]["note"] == "kept"
    # Scripts find the network namespace of a pod like this.
    assert {"type": "network", "path": "/run/netns/x"} in spec["linux"]["namespaces"]


def test_of_a_sandbox_without_network() -> None:
    assert json.loads(info.sandbox_info(make_sandbox(1), "")["info"])["cniResult"] is None


def test_of_a_container(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"ociVersion":"1.0.2"}')
    item = make_container(0xC1, 1, directory=str(tmp_path), pid=77, started_at=1, rootfs="/r", cgroup_path="/g")
    text = json.loads(info.container_info(item)["info"])
    assert (text["sandboxID"], text["pid"], text["runtimeHandler"]) == ("01" * 32, 77, "crun")
    assert (text["rootfs"], text["cgroupPath"], text["privileged"]) == ("/r", "/g", False)
    assert text["runtimeSpec"] == {"ociVersion": "1.0.2"}


def test_of_an_ended_container_without_bundle() -> None:
    item = make_container(0xC1, 1, pid=77, started_at=1, ended=ExitRecord(0, finished_at_ns=9))
    text = json.loads(info.container_info(item)["info"])
    assert text["pid"] == 0
    assert text["runtimeSpec"] is None


def test_of_an_image() -> None:
    document = {"config": {"Labels": {"a": "b"}}, "rootfs": {"type": "layers", "diff_ids": []}, "x-own": 1}
    image = ImageInfo(
        id="ab" * 32,
        names=(),
        repo_digests=(),
        digest="",
        size=1,
        created="",
        pinned=False,
        read=lambda key: json.dumps(document).encode(),
        config_key=lambda: "config",
    )
    text = json.loads(info.image_info(image)["info"])
    assert text["labels"] == {"a": "b"}
    assert text["imageSpec"] == document
