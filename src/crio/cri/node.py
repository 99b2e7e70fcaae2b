"""What the calls work on: the rooms of the daemon, built by its wiring."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from crio.base.jobs import JobTable
from crio.config import Config
from crio.container.events import Events
from crio.container.exec import Execs
from crio.container.manager import ContainerManager
from crio.image.service import ImageService
from crio.network.manager import Network
from crio.runtime.handlers import Runtimes
from crio.sandbox.manager import SandboxManager
from crio.security.host import HostFacts
from crio.stats.podmetrics import PodMetrics
from crio.stats.reader import StatsReader
from crio.streaming.server import StreamingServer


class Node(msgspec.Struct, frozen=True):
    """One daemon's rooms. `config` is a function, since a reload replaces the configuration as a whole."""

    config: Callable[[], Config]
    config_text: Callable[[], str]
    """The effective configuration as `crio config` prints it."""
    host: HostFacts
    jobs: JobTable
    sandboxes: SandboxManager
    containers: ContainerManager
    execs: Execs
    events: Events
    streams: StreamingServer
    images: ImageService
    network: Network
    runtimes: Runtimes
    stats: StatsReader
    pod_metrics: PodMetrics
