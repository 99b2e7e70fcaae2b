"""The rooms of a daemon that hold pods and containers, filled by hand: for what only reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.jobs import JobTable
from crio.config import default_config
from crio.conmon.client import ZygoteClient
from crio.conmon.exitrecord import ExitRecord
from crio.container.container import Container
from crio.container.create import ContainerMaker
from crio.container.events import Events
from crio.container.manager import ContainerManager
from crio.container.record import ContainerRecord
from crio.cri.node import Node
from crio.linux import cgroup
from crio.network.hostport import HostPorts
from crio.network.manager import Network
from crio.sandbox.manager import SandboxManager, SandboxSettings
from crio.sandbox.record import SandboxRecord
from crio.sandbox.sandbox import Sandbox
from crio.security.host import HostFacts
from crio.telemetry.metrics import Metrics

_NOTHING: Any = None
"""In the place of a room that the tests do not enter."""


class SmallNode:
    """Managers with their own directories below `root`, and nothing that runs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = default_config()
        for name in ("sandboxes", "containers"):
            (root / name).mkdir()
        jobs = JobTable()
        self.network = Network(str(root / "net.d"), [], str(root / "cni"), state_dir=str(root / "network"))
        self.sandboxes = SandboxManager(
            SandboxSettings(
                directory=str(root / "sandboxes"),
                namespaces_dir=str(root / "ns"),
                cgroup_manager="cgroupfs",
                handlers=self.config.runtime.runtimes,
                default_runtime=self.config.runtime.default_runtime,
            ),
            jobs,
            cgroup.detect(),
            self.network,
            HostPorts(),
            ZygoteClient(),
        )
        metrics = Metrics(())
        events = Events(metrics.events_dropped)
        self.containers = ContainerManager(jobs, self.sandboxes, cast(ContainerMaker, _NOTHING), events, metrics)
        self.sandboxes.containers = self.containers
        self.node = Node(
            config=lambda: self.config,
            config_text=lambda: "[crio]\n",
            host=HostFacts(),
            jobs=jobs,
            sandboxes=self.sandboxes,
            containers=self.containers,
            execs=_NOTHING,
            events=events,
            streams=_NOTHING,
            images=_NOTHING,
            network=self.network,
            runtimes=_NOTHING,
            stats=_NOTHING,
            pod_metrics=_NOTHING,
        )

    def add_sandbox(self, sandbox: Sandbox) -> Sandbox:
        self.sandboxes.adopt(sandbox)
        return sandbox

    def add_container(self, container: Container) -> Container:
        self.containers.adopt(container, None)
        return container


def make_sandbox(
    number: int = 1,
    *,
    labels: dict[str, str] | None = None,
    directory: str = "",
    host_network: bool = False,
    **facts: Any,
) -> Sandbox:
    """A pod named podNUMBER, READY unless `facts` of its record say otherwise."""
    config = pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(name=f"pod{number}", uid=f"u{number}", namespace="default"),
        labels=labels,
        annotations={"note": "kept"},
        log_directory=f"/logs/pod{number}",
    )
    if host_network:
        config.linux.security_context.namespace_options.network = pb.NODE
    sandbox_id = f"{number:02x}" * 32
    given: dict[str, Any] = {"complete": True, "created_at": 1000 + number, "hostname": f"pod{number}", **facts}
    record = SandboxRecord(
        id=sandbox_id, name=f"k8s_pod{number}_default_u{number}_0", config=config.SerializeToString(), **given
    )
    return Sandbox(directory or f"/nowhere/{sandbox_id}", record)


def make_container(
    number: int = 0xC1,
    sandbox: int = 1,
    *,
    labels: dict[str, str] | None = None,
    directory: str = "",
    ended: ExitRecord | None = None,
    **facts: Any,
) -> Container:
    """A container named cNUMBER in pod `sandbox`, CREATED unless `facts` of its record or `ended` say otherwise."""
    config = pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name=f"c{number}"),
        image=pb.ImageSpec(image="busybox", user_specified_image="busybox:latest"),
        labels=labels,
        annotations={"note": "kept"},
    )
    container_id = f"{number:02x}" * 32
    given: dict[str, Any] = {"created_at": 2000 + number, "handler": "crun", **facts}
    record = ContainerRecord(
        id=container_id,
        name=f"k8s_c{number}_pod{sandbox}",
        sandbox_id=f"{sandbox:02x}" * 32,
        config=config.SerializeToString(),
        **given,
    )
    container = Container(directory or f"/nowhere/{container_id}", record)
    container.exit = ended
    return container
