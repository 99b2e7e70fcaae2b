from __future__ import annotations

import json

from crio.spec import oci_runtime as oci


def spec() -> oci.Spec:
    return oci.Spec(process=oci.Process(user=oci.User(0, 0), args=["true"], cwd="/"), root=oci.Root("/r"))


def test_least_form() -> None:
    assert json.loads(oci.encode(spec())) == {
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["true"], "cwd": "/"},
        "root": {"path": "/r"},
        "linux": {"resources": {}},
    }


def test_field_names_of_the_specification() -> None:
    made = spec()
    made.process.oom_score_adj = -5
    made.process.no_new_privileges = True
    made.linux = oci.Linux(
        uid_mappings=[oci.IdMapping(0, 1000, 65536)],
        resources=oci.Resources(
            devices=[oci.DeviceRule(False, access="rwm")],
            memory=oci.Memory(limit=1, disable_oom_killer=True),
            block_io=oci.BlockIo(throttle_read_iops_device=[oci.ThrottleDevice(major=8, minor=0, rate=9)]),
            hugepage_limits=[oci.HugepageLimit("2MB", 1)],
        ),
        intel_rdt=oci.IntelRdt(clos_id="c"),
        cgroups_path="/c",
    )
    made.hooks = oci.Hooks(create_runtime=[oci.Hook("/h", timeout=3)])
    linux = json.loads(oci.encode(made))["linux"]
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 65536}]
    assert linux["resources"]["devices"] == [{"allow": False, "access": "rwm"}]
    assert linux["resources"]["memory"] == {"limit": 1, "disableOOMKiller": True}
    assert linux["resources"]["blockIO"]["throttleReadIOPSDevice"] == [{"major": 8, "minor": 0, "rate": 9}]
    assert linux["resources"]["hugepageLimits"] == [{"pageSize": "2MB", "limit": 1}]
    assert linux["intelRdt"] == {"closID": "c"}
    assert json.loads(oci.encode(made))["hooks"] == {"createRuntime": [{"path": "/h", "timeout": 3}]}


def test_zero_is_not_the_same_as_absent() -> None:
    assert json.loads(oci.encode(oci.Resources(cpu=oci.Cpu(shares=0)))) == {"cpu": {"shares": 0}}


def test_decoded_again() -> None:
    made = spec()
    made.linux.seccomp = oci.encode_raw(oci.Seccomp(default_action="SCMP_ACT_ALLOW"))
    again = oci.decode(oci.encode(made))
    assert oci.encode(again) == oci.encode(made)
    assert oci.decode(oci.encode(spec())).linux.seccomp is oci.NONE
