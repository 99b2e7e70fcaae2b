from __future__ import annotations

from typing import Any

from crio.container.specgen import default_mounts
from crio.container.specgen.input import SandboxFacts
from crio.spec.oci_runtime import Mount


def kernel(**changes: Any) -> dict[str, Mount]:
    settings: dict[str, Any] = {
        "privileged": False,
        "host_network": False,
        "user_namespace": False,
        "gid_five_mapped": True,
        "cgroup_writable": False,
        "recursive_read_only": False,
        **changes,
    }
    return {mount.destination: mount for mount in default_mounts.kernel_mounts(**settings)}


def test_confined() -> None:
    mounts = kernel()
    assert "ro" in mounts["/sys"].options
    assert "ro" in mounts["/sys/fs/cgroup"].options
    assert {"nosuid", "noexec", "nodev"} <= set(mounts["/proc"].options)


def test_writable_cgroup() -> None:
    assert "rw" in kernel(cgroup_writable=True)["/sys/fs/cgroup"].options


def test_host_network_in_a_user_namespace_cannot_mount_sysfs() -> None:
    mounts = kernel(host_network=True, user_namespace=True)
    assert (mounts["/sys"].type, "ro" in mounts["/sys"].options) == ("bind", True)
    assert "rprivate" in mounts["/sys"].options
    assert "rro" in kernel(host_network=True, user_namespace=True, recursive_read_only=True)["/sys"].options
    assert kernel(host_network=True)["/sys"].type == "sysfs"


def test_files_of_the_pod() -> None:
    sandbox = SandboxFacts(id="a", name="p", resolv_conf="/r", hostname_file="/h", containerenv="/c", shm="/s")
    mounts = {
        mount.destination: mount for mount in default_mounts.pod_mounts(sandbox, host_network=False, read_only=True)
    }
    assert set(mounts) == {"/dev/shm", "/etc/resolv.conf", "/etc/hostname", "/run/.containerenv"}
    assert mounts["/etc/resolv.conf"].options[0] == "ro"
    assert mounts["/dev/shm"].options[0] == "rw"
    assert "rprivate" in mounts["/dev/shm"].options
    hosts = default_mounts.pod_mounts(SandboxFacts(id="a", name="p"), host_network=True, read_only=False)
    assert [mount.source for mount in hosts] == ["/etc/hosts"]
