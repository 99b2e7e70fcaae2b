from __future__ import annotations

import os
from pathlib import Path

import pytest

from crio.base.errors import InvalidArgument
from crio.container.specgen.blockio import BlockIoClasses, class_of
from crio.spec.oci_runtime import ThrottleDevice, WeightDevice


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.root
def test_classes(tmp_path: Path) -> None:
    os.mknod(tmp_path / "sda", 0o60600, os.makedev(8, 0))
    os.mknod(tmp_path / "sdb", 0o60600, os.makedev(8, 16))
    (tmp_path / "sdc").touch()
    text = f"""
Classes:
  slow:
  - Weight: 50
  - Devices: ["{tmp_path}/sd*"]
    ThrottleReadBps: 10M
    ThrottleWriteIOPS: 2k
  fair:
  - Devices: ["{tmp_path}/sda"]
    Weight: 400
"""
    classes = BlockIoClasses(write(tmp_path / "c.yaml", text))
    slow = classes.get("slow")
    assert slow.weight == 50
    assert slow.throttle_read_bps_device == [
        ThrottleDevice(major=8, minor=0, rate=10_000_000),
        ThrottleDevice(major=8, minor=16, rate=10_000_000),
    ]
    assert slow.throttle_write_iops_device[1].rate == 2000
    assert classes.get("fair").weight_device == [WeightDevice(major=8, minor=0, weight=400)]
    with pytest.raises(InvalidArgument, match="none of that name"):
        classes.get("other")


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "Classes: 5",
        "Classes: {a: [{Weight: 5}]}",
        "Classes: {a: [{ThrottleReadBps: 5}]}",
        'Classes: {a: [{Devices: ["/x"], Weight: much}]}',
    ],
)
def test_bad_files(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidArgument):
        BlockIoClasses(write(tmp_path / "c.yaml", text))


def test_a_failed_reload_keeps_the_former_classes(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    classes = BlockIoClasses(write(path, "Classes: {a: [{Weight: 50}]}"))
    write(path, "[")
    with pytest.raises(InvalidArgument):
        classes.reload()
    assert classes.get("a").weight == 50


def test_choice() -> None:
    pod = {"blockio.resources.beta.kubernetes.io/pod": "p", "blockio.resources.beta.kubernetes.io/container.app": "c"}
    assert class_of("app", {}, {}) == ""
    assert class_of("other", {}, pod) == "p"
    assert class_of("app", {}, pod) == "c"
    assert class_of("app", {"io.kubernetes.cri.blockio-class": "k"}, pod) == "k"
