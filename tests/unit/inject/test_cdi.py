from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crio.base.errors import InvalidArgument
from crio.inject.cdi import CdiRegistry
from crio.spec import oci_runtime as oci


def spec() -> oci.Spec:
    made = oci.Spec(process=oci.Process(user=oci.User(5, 6), args=["x"], env=["A=1"], cwd="/"), root=oci.Root("/r"))
    made.mounts = [oci.Mount("/proc", "proc", "proc"), oci.Mount("/data/deep", "bind", "/d")]
    return made


def write(path: Path, kind: str = "vendor.com/gpu", name: str = "0", **edits: Any) -> None:
    path.write_text(
        json.dumps(
            {
                "cdiVersion": "0.7.0",
                "kind": kind,
                "containerEdits": {"env": ["DRIVER=1"]},
                "devices": [{"name": name, "containerEdits": edits or {"env": ["GPU=" + name]}}],
            }
        )
    )


def test_all_edits(tmp_path: Path) -> None:
    write(
        tmp_path / "a.json",
        env=["A=2", "B=3"],
        deviceNodes=[
            {"path": "/dev/null0", "hostPath": "/dev/null"},
            {"path": "/dev/n1", "type": "c", "major": 1, "minor": 7},
        ],
        netDevices=[{"hostInterfaceName": "eth9", "name": "net0"}],
        mounts=[{"hostPath": "/lib/driver", "containerPath": "/lib/driver", "options": ["ro", "bind"]}],
        hooks=[{"hookName": "createContainer", "path": "/bin/hook", "args": ["hook", "x"]}],
        intelRdt={"closID": "gold"},
        additionalGids=[44, 0],
    )
    made = spec()
    CdiRegistry([str(tmp_path)]).inject(made, ["vendor.com/gpu=0"])
    assert made.process.env == ["A=2", "DRIVER=1", "B=3"]
    first, second = made.linux.devices
    assert (first.path, first.type, first.major, first.minor, first.uid, first.gid) == ("/dev/null0", "c", 1, 3, 5, 6)
    assert (second.major, second.minor) == (1, 7)
    assert [rule.access for rule in made.linux.resources.devices] == ["rwm", "rwm"]
    assert made.linux.net_devices["eth9"].name == "net0"
    assert [mount.destination for mount in made.mounts] == ["/proc", "/data/deep", "/lib/driver"]
    assert made.hooks is not None
    assert made.hooks.create_container[0].args == ["hook", "x"]
    assert made.linux.intel_rdt is not None
    assert made.process.user.additional_gids == [44]


def test_edits_of_a_file_come_once(tmp_path: Path) -> None:
    write(tmp_path / "a.json", deviceNodes=[{"path": "/dev/null"}])
    write(tmp_path / "b.json", name="1", hooks=[{"hookName": "poststop", "path": "/h"}])
    made = spec()
    CdiRegistry([str(tmp_path)]).inject(made, ["vendor.com/gpu=0", "vendor.com/gpu=1"])
    assert made.process.env.count("DRIVER=1") == 1


def test_yaml_and_later_changes(tmp_path: Path) -> None:
    registry = CdiRegistry([str(tmp_path)])
    with pytest.raises(InvalidArgument, match="no file in"):
        registry.inject(spec(), ["v/c=x"])
    (tmp_path / "a.yaml").write_text(
        'cdiVersion: "0.5.0"\nkind: v/c\ndevices:\n- name: x\n  containerEdits:\n    env: ["X=1"]\n'
    )
    made = spec()
    registry.inject(made, ["v/c=x"])
    assert "X=1" in made.process.env
    (tmp_path / "a.yaml").unlink()
    with pytest.raises(InvalidArgument):
        registry.inject(spec(), ["v/c=x"])


def test_a_later_directory_wins_and_one_directory_must_agree(tmp_path: Path) -> None:
    low, high = tmp_path / "low", tmp_path / "high"
    low.mkdir()
    high.mkdir()
    write(low / "a.json", env=["FROM=low"])
    write(high / "a.json", env=["FROM=high"])
    registry = CdiRegistry([str(low), str(high)])
    made = spec()
    registry.inject(made, ["vendor.com/gpu=0"])
    assert "FROM=high" in made.process.env
    write(high / "b.json", env=["FROM=other"])
    with pytest.raises(InvalidArgument, match="describe it"):
        registry.inject(spec(), ["vendor.com/gpu=0"])


def test_a_bad_file_spoils_no_other(tmp_path: Path) -> None:
    write(tmp_path / "good.json")
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "bad.yaml").write_text("a: [")
    (tmp_path / "text.json").write_bytes(b'{"kind": "\xff"}')
    (tmp_path / "dir.json").mkdir()
    registry = CdiRegistry([str(tmp_path), "/nonexistent"])
    registry.inject(spec(), ["vendor.com/gpu=0"])
    assert sorted(path.rsplit("/", 1)[1] for path in registry.errors()) == ["bad.json", "bad.yaml", "text.json"]


def test_a_device_that_is_none(tmp_path: Path) -> None:
    write(tmp_path / "a.json", deviceNodes=[{"path": "/dev/x", "hostPath": "/etc/passwd"}])
    with pytest.raises(InvalidArgument, match="no device"):
        CdiRegistry([str(tmp_path)]).inject(spec(), ["vendor.com/gpu=0"])


def test_requested_by_field_and_annotation() -> None:
    registry = CdiRegistry([])
    annotations = {"cdi.k8s.io/b": "v/c=2,v/c=1", "other": "v/c=9"}
    assert registry.requested(["v/c=1"], annotations) == ["v/c=1", "v/c=2"]
    with pytest.raises(InvalidArgument):
        registry.requested([], {"cdi.k8s.io/x": "nonsense"})
