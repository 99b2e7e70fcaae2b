"""Inputs for specification tests, and a way to run the result with a real runtime."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from crio.api.runtime.v1 import api_pb2 as pb
from crio.config.tables.runtime import Runtime
from crio.container.specgen.apply import apply_effects
from crio.container.specgen.build import build_spec
from crio.container.specgen.input import ContainerInput, HandlerFacts, ImageFacts, SandboxFacts
from crio.container.specgen.plan import ContainerPlan
from crio.security.host import HostFacts, gather
from crio.security.seccomp import SeccompProfiles
from crio.spec import oci_runtime
from oci_bundle import make_rootfs

PROFILES = SeccompProfiles()
_APPLETS = "ls mount umount mkdir mknod ln stat hostname pwd grep env chroot unshare touch wc readlink".split()
MASKED = ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware")
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_host: HostFacts | None = None


def host() -> HostFacts:
    """The facts of this machine, gathered once."""
    global _host
    if _host is None:
        _host = gather()
    return _host


def container_config(**fields: Any) -> pb.ContainerConfig:
    config = pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name="app", attempt=0),
        image=pb.ImageSpec(image="registry.example/busybox:latest"),
        labels={"io.kubernetes.container.name": "app"},
    )
    config.linux.security_context.namespace_options.pid = pb.CONTAINER
    config.linux.security_context.masked_paths.extend(MASKED)
    config.linux.security_context.readonly_paths.extend(READONLY)
    config.MergeFrom(pb.ContainerConfig(**fields))
    return config


def pod_config(**fields: Any) -> pb.PodSandboxConfig:
    config = pb.PodSandboxConfig(metadata=pb.PodSandboxMetadata(name="web", namespace="default", uid="u-1"))
    config.linux.security_context.namespace_options.pid = pb.CONTAINER
    config.MergeFrom(pb.PodSandboxConfig(**fields))
    return config


def plain_host(**changes: Any) -> HostFacts:
    """Facts of no machine in particular: everything is allowed."""
    return replace(HostFacts(), **changes)


def make_root(path: Path) -> str:
    """A root with busybox, and passwd and group files."""
    root = make_rootfs(str(path))
    for applet in _APPLETS:
        if not os.path.lexists(f"{root}/bin/{applet}"):
            os.symlink("busybox", f"{root}/bin/{applet}")
    os.makedirs(f"{root}/etc")
    Path(f"{root}/etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\n# a comment\nbroken\nweb:x:1000:1001:Web,,,:/srv/web:/bin/sh\nbad:x:nan:5::/:\n"
    )
    Path(f"{root}/etc/group").write_text(
        "root:x:0:root\nweb:x:1001:\naudio:x:29:other,web\nvideo:x:44:web\nodd:x:zz:web\n"
    )
    return root


def make_input(directory: Path, **changes: Any) -> ContainerInput:
    """An input with a root in `directory`; `changes` replace fields."""
    rootfs = directory / "rootfs"
    if not rootfs.exists():
        make_root(rootfs)
    run_directory = directory / "run"
    run_directory.mkdir(exist_ok=True)
    identity = uuid.uuid4().hex * 2
    given = ContainerInput(
        id=identity,
        name="k8s_app_web_default_u-1_0",
        config=container_config(),
        sandbox_config=pod_config(),
        sandbox=SandboxFacts(id="a" * 64, name="k8s_web_default_u-1_0", hostname="web"),
        image=ImageFacts(requested="busybox", id="b" * 64, command=["sh"], env=["PATH=/bin", "FROM=image"]),
        handler=HandlerFacts(name="crun"),
        runtime=Runtime(cgroup_manager="cgroupfs"),
        host=plain_host(),
        seccomp=PROFILES,
        rootfs=str(rootfs),
        run_directory=str(run_directory),
        created_at=1_700_000_000_123_456_789,
        storage_root=str(directory / "storage"),
    )
    return replace(given, **changes)


def run(plan: ContainerPlan, runtime: str, directory: Path, *, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    """Apply the plan and run the container to its end; its output and exit code."""
    bundle = directory / f"bundle-{uuid.uuid4().hex[:8]}"
    bundle.mkdir()
    apply_effects(plan.effects, plan.spec.root.path)
    (bundle / "config.json").write_bytes(oci_runtime.encode(plan.spec))
    state = directory / "state"
    identity = f"spec-{uuid.uuid4().hex[:12]}"
    base = [runtime, "--root", str(state)]
    try:
        return subprocess.run(
            [*base, "run", "--bundle", str(bundle), identity],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    finally:
        subprocess.run([*base, "delete", "--force", identity], capture_output=True, check=False)
        shutil.rmtree(bundle, ignore_errors=True)


def shell(directory: Path, script: str, runtime: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    """Run a container whose command is `script` with this machine's facts, in a cgroup below /crio-spec-test.

    `runtime` is the program; `runtime_` the section of crio.conf.
    """
    config = changes.pop("config", None) or container_config()
    if not config.command:
        config.command.extend(["/bin/sh", "-c", script])
    sandbox = changes.pop("sandbox", SandboxFacts(id="a" * 64, name="pod", hostname="web"))
    sandbox = replace(sandbox, cgroup_parent="/crio-spec-test")
    if "runtime_" in changes:
        changes["runtime"] = changes.pop("runtime_")
    given = make_input(directory, config=config, sandbox=sandbox, host=changes.pop("host", host()), **changes)
    return run(build_spec(given), runtime, directory)


def remove_cgroups(roots: Sequence[str]) -> None:
    """Remove /crio-spec-test everywhere; the containers in it are gone."""
    # Runtimes make the group in a hybrid layout's version 2 tree too, and in hierarchies without a controller.
    for root in {*roots, *glob.glob("/sys/fs/cgroup/*")}:
        for directory, _, _ in os.walk(f"{root}/crio-spec-test", topdown=False):
            try:
                os.rmdir(directory)
            except OSError:
                pass
