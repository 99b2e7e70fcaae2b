"""[crio.metrics], [crio.tracing], [crio.stats]."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from crio.config.key import RESTART, WATCHED, Key

COLLECTORS = (
    "image_pulls_layer_size",
    "containers_events_dropped_total",
    "containers_oom_total",
    "processes_defunct",
    "operations_total",
    "operations_latency_seconds",
    "operations_latency_seconds_total",
    "operations_errors_total",
    "image_pulls_bytes_total",
    "image_pulls_skipped_bytes_total",
    "image_pulls_failure_total",
    "image_pulls_success_total",
    "image_layer_reuse_total",
    "containers_oom_count_total",
    "containers_seccomp_notifier_count_total",
    "resources_stalled_at_stage",
    "containers_stopped_monitor_count",
    "default_runtime",
)
"""The metrics of CRI-O, without their prefix."""

POD_METRICS = ("cpu", "disk", "diskIO", "hugetlb", "memory", "network", "oom", "process", "spec", "pressure")
"""The groups of pod metrics that ListPodSandboxMetrics can have; "all" alone stands for every one."""


class Metrics(Struct, frozen=True):
    """[crio.metrics]"""

    enable_metrics: Annotated[bool, Key("Serve metrics for Prometheus at /metrics.", RESTART)] = False
    metrics_collectors: Annotated[
        tuple[str, ...],
        Key(
            "The metrics that are served. A prefix of container_runtime_crio_ or crio_ may stand before a name. "
            "Histograms and figures of the process are served with any of them.",
        ),
    ] = COLLECTORS
    metrics_host: Annotated[str, Key("Address on which metrics are served.", RESTART)] = "127.0.0.1"
    metrics_port: Annotated[int, Key("Port on which metrics are served.", RESTART)] = 9090
    metrics_socket: Annotated[str, Key("Unix socket on which metrics are served besides. Empty: none.", RESTART)] = ""
    metrics_cert: Annotated[
        str,
        Key(
            "Certificate (PEM) for metrics over TLS. If neither it nor the key exists, a self-signed pair is "
            "made. Empty: no TLS. A changed file is taken over.",
            WATCHED,
        ),
    ] = ""
    metrics_key: Annotated[
        str, Key("Private key (PEM) for metrics over TLS. A changed file is taken over.", WATCHED)
    ] = ""


class Tracing(Struct, frozen=True):
    """[crio.tracing]"""

    enable_tracing: Annotated[bool, Key("Send traces to an OpenTelemetry collector.", RESTART)] = False
    tracing_endpoint: Annotated[str, Key("Address of the collector, HOST:PORT, for OTLP over gRPC.", RESTART)] = (
        "127.0.0.1:4317"
    )
    tracing_sampling_rate_per_million: Annotated[
        int,
        Key("How many of a million requests are traced. 1000000: all. A caller's own decision goes first."),
    ] = 0


class Stats(Struct, frozen=True):
    """[crio.stats]"""

    stats_collection_period: Annotated[
        int,
        Key("Seconds for which lists of statistics tell figures again.", deprecated="use collection_period"),
    ] = 0
    collection_period: Annotated[
        int,
        Key(
            "Seconds for which lists of container and pod statistics tell figures again. 0: they are read when asked "
            "for, but not more than once a second.",
            env="COLLECTION_PERIOD",
        ),
    ] = 0
    included_pod_metrics: Annotated[
        tuple[str, ...],
        Key('Groups of pod metrics that are served through the CRI; "all" alone stands for every group.'),
    ] = ()
