"""The whole configuration as one immutable value."""

from __future__ import annotations

from msgspec import Struct

from crio.config.tables.api import Api
from crio.config.tables.image import Image
from crio.config.tables.network import Network
from crio.config.tables.nri import Nri
from crio.config.tables.observability import Metrics, Stats, Tracing
from crio.config.tables.root import CheckpointRestore, Crio
from crio.config.tables.runtime import Runtime


class Config(Struct, frozen=True):
    """crio.conf: attributes are the tables below [crio], and their attributes are the keys, spelled as in the file.

    Lists are tuples; sizes are bytes; durations are seconds. `crio` holds the keys that stand directly in [crio].
    """

    crio: Crio = Crio()
    api: Api = Api()
    runtime: Runtime = Runtime()
    checkpoint_restore: CheckpointRestore = CheckpointRestore()
    image: Image = Image()
    network: Network = Network()
    metrics: Metrics = Metrics()
    tracing: Tracing = Tracing()
    nri: Nri = Nri()
    stats: Stats = Stats()
