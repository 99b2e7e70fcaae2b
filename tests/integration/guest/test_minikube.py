"""What minikube runs on its node for the cri-o runtime, command by command, against the installed service."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import crio
from images import BUSYBOX_NAME
from installed_node import CHECKOUT, InstalledNode, install, run, uninstall
from systemd_units import show

pytestmark = [
    pytest.mark.skipif("CRIO_TEST_GUEST" not in os.environ, reason="installs the project on this machine"),
    pytest.mark.slow,
]

DROP_IN = Path("/etc/crio/crio.conf.d/02-crio.conf")
SHIPPED = """[crio.image]
# pause_image = ""

[crio.network]
# cni_default_network = ""

[crio.runtime]
# cgroup_manager = ""
"""
"""The drop-in of its node image."""
NETWORK = Path("/etc/cni/net.d/10-crio-bridge.conflist")
FILES = "find /etc/cni/net.d -maxdepth 1 -type f -not -name '*.mk_disabled'"
PAUSE = "registry.k8s.io/pause:3.10"
IMAGE = "docker.io/library/loaded:1"
CRIO = "/usr/bin/crio"
CRICTL = shutil.which("crictl") or "/usr/bin/crioctl"


def shell(script: str) -> str:
    return run("sh", "-c", script)


def crictl(*arguments: str) -> str:
    return run(CRICTL, "--timeout=10s", *arguments)


@pytest.fixture(scope="module", autouse=True)
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The node as its image has it, and then what `minikube start` does before the kubelet."""
    kind = install(tmp_path_factory.mktemp("install"))
    Path("/etc/crictl.yaml").unlink(missing_ok=True)
    DROP_IN.write_text(SHIPPED)
    shell("podman version >/dev/null")
    shutil.copy(CHECKOUT / "contrib" / "cni" / NETWORK.name, NETWORK)
    bridge = (
        r"""-e '/"dst": ".*:.*"/d' -e 's|^(.*)"dst": (.*)[,*]$|\1"dst": \2|g' -e '/"subnet": ".*:.*"/d' """
        r"""-e 's|^(.*)"subnet": ".*"(.*)[,*]$|\1"subnet": "10.244.0.0/16"\2|g'"""
    )
    podman = (
        r"""-e 's|^(.*)"subnet": ".*"(.*)$|\1"subnet": "10.244.0.0/16"\2|g' """
        r"""-e 's|^(.*)"gateway": ".*"(.*)$|\1"gateway": "10.244.0.1"\2|g'"""
    )
    shell(f"for file in $({FILES} -name '*bridge*' -not -name '*podman*'); do sed -i -r {bridge} $file; done")
    shell(f"for file in $({FILES} -name '*podman*'); do sed -i -r {podman} $file; done")
    shell('printf %s "runtime-endpoint: unix:///var/run/crio/crio.sock\n" | tee /etc/crictl.yaml')
    for edit in (
        f's|^.*pause_image = .*$|pause_image = "{PAUSE}"|',
        's|^.*cgroup_manager = .*$|cgroup_manager = "systemd"|',
        "/conmon_cgroup = .*/d",
        '/cgroup_manager = .*/a conmon_cgroup = "pod"',
        '/^ *"net.ipv4.ip_unprivileged_port_start=.*"/d',
    ):
        shell(f"sed -i '{edit}' {DROP_IN}")
    shell(
        f"""grep -q "^ *default_sysctls" {DROP_IN} || """
        rf"""sed -i '/conmon_cgroup = .*/a default_sysctls = \[\n\]' {DROP_IN}"""
    )
    shell(rf"""sed -i -r 's|^default_sysctls *= *\[|&\n  "net.ipv4.ip_unprivileged_port_start=0",|' {DROP_IN}""")
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "crio")
    try:
        yield
    finally:
        run("systemctl", "stop", "-f", "crio")
        assert show("crio", "ActiveState")["ActiveState"] == "inactive"
        DROP_IN.unlink()
        NETWORK.unlink()
        uninstall(kind)
        run("ip", "link", "delete", "cni0", check=False)


@pytest.fixture
async def installed(layout: str) -> AsyncIterator[InstalledNode]:
    node = InstalledNode()
    await node.ready()
    await node.load(layout)
    yield node
    await node.remove_all_pods()
    await node.close_client()


async def test_the_edited_configuration_is_in_force(installed: InstalledNode) -> None:
    run("systemctl", "is-active", "--quiet", "service", "crio")
    assert run(CRIO, "--version").splitlines()[0].replace("crio version ", "") == crio.__version__
    (manager,) = [line for line in run(CRIO, "config").splitlines() if line.startswith("cgroup_manager")]
    assert manager.split(" = ") == ["cgroup_manager", '"systemd"']
    effective = tomllib.loads(run(CRIO, "status", "config"))["crio"]
    assert effective["image"]["pause_image"] == PAUSE
    assert effective["runtime"]["default_sysctls"] == ["net.ipv4.ip_unprivileged_port_start=0"]
    assert effective["runtime"]["runtimes"]["crun"]["monitor_cgroup"] == "pod"
    assert "RuntimeName:  cri-o" in crictl("version").splitlines()
    status = json.loads(crictl("info"))["status"]
    assert {each["type"]: each["status"] for each in status["conditions"]} == {
        "RuntimeReady": True,
        "NetworkReady": True,
    }
    assert "is ready on /var/run/crio/crio.sock" in run("journalctl", "--no-pager", "-u", "crio", "-n", "60")


async def test_a_container_from_its_start_to_its_removal(installed: InstalledNode) -> None:
    pod_config = installed.pod_config("web")
    pod_config.labels["io.kubernetes.pod.namespace"] = "default"
    pod = await installed.run_pod(pod_config)
    config = installed.container_config(["sh", "-c", "echo hello; exec sleep 900"], name="web")
    config.labels["io.kubernetes.pod.namespace"] = "default"
    container = await installed.create(pod, config, pod_config)
    await installed.start_container(container)
    assert json.loads(crictl("inspectp", pod))["status"]["network"]["ip"].startswith("10.244.")
    assert crictl("exec", container, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start") == "0\n"
    for choice in ("--name=web", "--label=io.kubernetes.pod.namespace=default"):
        assert crictl("ps", "-a", "--quiet", choice) == f"{container}\n"
    assert crictl("ps", "-a", "--quiet", "--label", "io.kubernetes.pod.namespace=kube-system") == ""
    assert crictl("logs", "--tail", "25", container) == "hello\n"
    crictl("stop", "--timeout=10", container)
    crictl("rm", "--force", container)
    assert crictl("ps", "-a", "--quiet") == ""


def _tags() -> set[str]:
    images = json.loads(crictl("images", "--output", "json"))["images"]
    return {tag for image in images for tag in image["repoTags"]}


async def test_images_go_in_and_out_by_podman(installed: InstalledNode, tmp_path: Path) -> None:
    archive, saved = tmp_path / "image.tar", tmp_path / "saved.tar"
    run("podman", "save", BUSYBOX_NAME, "-o", str(archive))
    run("podman", "load", "-i", str(archive))
    run("podman", "tag", BUSYBOX_NAME, IMAGE)
    assert {BUSYBOX_NAME, IMAGE} <= _tags()
    assert len(run("podman", "image", "inspect", "--format", "{{.Id}}", IMAGE).strip()) == 64
    run("podman", "save", IMAGE, "-o", str(saved))
    (tmp_path / "Containerfile").write_text(f"FROM {IMAGE}\nENV BUILT=yes\n")
    built = f"{IMAGE}-built"
    run("podman", "build", "-f", f"{tmp_path}/Containerfile", "-t", built, str(tmp_path), "--cgroup-manager=cgroupfs")
    assert built in _tags()
    for name in (built, IMAGE):
        crictl("rmi", name)
        assert crictl("images", "--quiet", name) == ""
    run("podman", "load", "-i", str(saved))
    assert IMAGE in _tags()


async def test_images_that_are_laid_over_the_store_are_there_at_once(installed: InstalledNode, tmp_path: Path) -> None:
    """Its preloaded images are a tar of /var/lib/containers, which is extracted while the daemon runs."""
    other = ("--root", f"{tmp_path}/lib/containers/storage", "--runroot", f"{tmp_path}/run")
    run("podman", "save", BUSYBOX_NAME, "-o", f"{tmp_path}/image.tar")
    run("podman", *other, "load", "-i", f"{tmp_path}/image.tar")
    run("podman", *other, "tag", BUSYBOX_NAME, "registry.k8s.io/preloaded:1")
    run("umount", f"{tmp_path}/lib/containers/storage/overlay", check=False)
    run("tar", "-C", str(tmp_path), "-cf", f"{tmp_path}/preloaded.tar", "lib")
    run("tar", "--xattrs", "--xattrs-include", "security.capability", "-C", "/var", "-xf", f"{tmp_path}/preloaded.tar")
    assert "registry.k8s.io/preloaded:1" in _tags()
    pod_config = installed.pod_config("preloaded")
    pod = await installed.run_pod(pod_config)
    config = installed.container_config(["sleep", "900"], image="registry.k8s.io/preloaded:1")
    container = await installed.create(pod, config, pod_config)
    await installed.start_container(container)
    assert crictl("exec", container, "echo", "here") == "here\n"
