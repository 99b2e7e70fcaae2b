"""The daemon's metrics, read back by a strict reader of Prometheus' format."""

from __future__ import annotations

import math
import re

from crio.config.tables.observability import COLLECTORS
from crio.telemetry.metric import MAX_SERIES, Counter, Gauge, Histogram, Summary
from crio.telemetry.metrics import PREFIX, Metrics, size_bucket
from crio.telemetry.text import write

# Name, kind and labels as SPEC and dashboards of CRI-O have them.
OF_CRIO = {
    "image_pulls_layer_size": ("histogram", ()),
    "containers_events_dropped_total": ("counter", ()),
    "containers_oom_total": ("counter", ()),
    "containers_oom_count_total": ("counter", ("name",)),
    "containers_seccomp_notifier_count_total": ("counter", ("name", "syscall")),
    "containers_stopped_monitor_count": ("counter", ("name",)),
    "processes_defunct": ("gauge", ()),
    "operations_total": ("counter", ("operation",)),
    "operations_errors_total": ("counter", ("operation",)),
    "operations_latency_seconds": ("gauge", ("operation",)),
    "operations_latency_seconds_total": ("summary", ("operation",)),
    "image_pulls_bytes_total": ("counter", ("mediatype", "size")),
    "image_pulls_skipped_bytes_total": ("counter", ("size",)),
    "image_pulls_failure_total": ("counter", ("error",)),
    "image_pulls_success_total": ("counter", ()),
    "image_layer_reuse_total": ("counter", ("name",)),
    "resources_stalled_at_stage": ("counter", ("stage",)),
    "default_runtime": ("gauge", ("runtime",)),
}

_LINE = re.compile(r'([a-zA-Z_:][\w:]*)(?:\{((?:[a-z_]\w*="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\S+)')
_PAIR = re.compile(r'([a-z_]\w*)="((?:[^"\\]|\\.)*)"')

Sample = tuple[str, frozenset[tuple[str, str]]]


def read(text: str) -> tuple[dict[Sample, float], dict[str, str]]:
    """Samples and types; every line must be well-formed, and the lines of one metric stand together."""
    samples: dict[Sample, float] = {}
    types: dict[str, str] = {}
    name = ""
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            continue
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types
            types[name] = kind
            continue
        match = _LINE.fullmatch(line)
        assert match is not None, line
        suffix = match[1].removeprefix(name)
        assert suffix in {"histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}.get(
            types[name], ("",)
        ), line
        key = (match[1], frozenset(_PAIR.findall(match[2] or "")))
        assert key not in samples, line
        samples[key] = float(match[3])
    return samples, types


def value(samples: dict[Sample, float], metric: str, /, **labels: str) -> float:
    return samples[metric, frozenset(labels.items())]


def used() -> Metrics:
    """Metrics after a bit of everything."""
    metrics = Metrics(COLLECTORS, count_defunct=lambda: 3.0)
    metrics.rpc("RunPodSandbox", "OK", 0.2)
    metrics.rpc("RunPodSandbox", "INTERNAL", 0.4)
    metrics.operation("network_setup_pod", 0.1)
    metrics.stage("RunPodSandbox", "network", 0.1)
    metrics.stalled("network creation")
    metrics.cni_plugin("bridge", "ADD", 0.04)
    metrics.runtime_call("crun", "create", 0.02, failed=True)
    metrics.layer_pulled("application/vnd.oci.image.layer.v1.tar+gzip", 2_000_000)
    metrics.layer_reused("sha256:abc", 500)
    metrics.pull_succeeded()
    metrics.pull_failed("MANIFEST_UNKNOWN")
    metrics.container_oom('we"ird\\name\n')
    metrics.monitor_stopped("k8s_x")
    metrics.events_dropped(2)
    metrics.seccomp_notified("k8s_x", "ptrace")
    metrics.set_default_runtime("runc")
    metrics.set_default_runtime("crun")
    metrics.look()
    return metrics


def test_the_metrics_of_cri_o_have_their_names_kinds_and_labels() -> None:
    samples, types = read(used().text())
    assert set(OF_CRIO) == set(COLLECTORS)
    for name, (kind, labels) in OF_CRIO.items():
        assert types[PREFIX + name] == kind
        found = [pairs for (full, pairs) in samples if full in (PREFIX + name, f"{PREFIX}{name}_sum")]
        assert found, name
        assert all({label for label, _ in pairs} - {"quantile"} == set(labels) for pairs in found), name


def test_values() -> None:
    samples, _ = read(used().text())
    assert value(samples, f"{PREFIX}operations_total", operation="RunPodSandbox") == 2
    assert value(samples, f"{PREFIX}operations_errors_total", operation="RunPodSandbox") == 1
    assert value(samples, f"{PREFIX}operations_latency_seconds", operation="RunPodSandbox") == 0.4
    assert value(samples, f"{PREFIX}operations_latency_seconds_total_sum", operation="network_setup_pod") == 0.1
    assert value(samples, f"{PREFIX}image_pulls_layer_size_bucket", le="1e+06") == 0
    assert value(samples, f"{PREFIX}image_pulls_layer_size_bucket", le="1e+07") == 1
    assert value(samples, f"{PREFIX}image_pulls_skipped_bytes_total", size=">0 B") == 500
    assert value(samples, f"{PREFIX}containers_oom_count_total", name='we\\"ird\\\\name\\n') == 1
    assert value(samples, f"{PREFIX}processes_defunct") == 3
    assert value(samples, f"{PREFIX}default_runtime", runtime="crun") == 1
    assert (f"{PREFIX}default_runtime", frozenset({("runtime", "runc")})) not in samples
    assert value(samples, "crio_rpc_duration_seconds_count", rpc="RunPodSandbox", code="OK") == 1
    assert value(samples, "crio_rpc_duration_seconds_bucket", rpc="RunPodSandbox", code="OK", le="+Inf") == 1
    assert value(samples, "process_resident_memory_bytes") > 1 << 20
    assert value(samples, "process_start_time_seconds") > 1.6e9
    assert value(samples, "process_open_fds") < value(samples, "process_max_fds")


def test_a_watched_number_is_asked_each_time() -> None:
    metrics, open_now = Metrics([]), [3]
    metrics.watch("crio_rpc_connections", "Connections.", lambda: open_now[0])
    assert value(read(metrics.text())[0], "crio_rpc_connections") == 3
    open_now[0] = 4
    assert value(read(metrics.text())[0], "crio_rpc_connections") == 4


def test_only_chosen_collectors_are_written() -> None:
    _, types = read(Metrics(["containers_oom_total"]).text())
    assert {name for name in types if name.startswith(PREFIX)} == {f"{PREFIX}containers_oom_total"}
    assert "process_cpu_seconds_total" in types


def test_defunct_processes_are_counted_without_help() -> None:
    metrics = Metrics(["processes_defunct"])
    metrics.look()
    assert value(read(metrics.text())[0], f"{PREFIX}processes_defunct") >= 0


def test_processes_are_looked_at_only_beforehand_and_if_their_number_is_written() -> None:
    looks: list[int] = []

    def count() -> float:
        looks.append(1)
        return 3.0

    metrics = Metrics(["containers_oom_total"], count_defunct=count)
    metrics.look()
    metrics.choose(["processes_defunct"])
    metrics.text()
    assert looks == []
    metrics.look()
    assert value(read(metrics.text())[0], f"{PREFIX}processes_defunct") == 3
    assert looks == [1]


def test_size_buckets_have_the_names_of_cri_o() -> None:
    assert [size_bucket(size) for size in (0, 1000, 1001, 999_999_999, 10**9 + 1, 10**10 + 1)] == [
        ">0 B",
        ">0 B",
        ">1 KiB",
        ">500 MiB",
        ">1 GiB",
        ">10 GiB",
    ]


def test_a_metric_keeps_a_limited_number_of_series() -> None:
    counter, histogram = Counter("c", "C.", ("name",)), Histogram("h", "H.", ("name",), (1.0,))
    for number in range(MAX_SERIES + 10):
        counter.add(str(number))
        histogram.observe(0.5, str(number))
    assert len(list(counter.samples())) == MAX_SERIES
    assert counter.value("0") == 0
    assert counter.value(str(MAX_SERIES + 9)) == 1
    assert histogram.count("0") == 0
    assert histogram.count(str(MAX_SERIES)) == 1


def test_a_summary_forgets_what_is_old() -> None:
    now = 0.0
    summary = Summary("s", "S.", ("op",), clock=lambda: now)
    for number in range(1, 1001):
        summary.observe(float(number), "x")
    samples, _ = read(write([summary]))
    assert value(samples, "s", op="x", quantile="0.5") == 1000 - Summary.KEPT + 1 + Summary.KEPT // 2
    assert value(samples, "s_count", op="x") == 1000
    assert value(samples, "s_sum", op="x") == 500500
    now = Summary.AGE + 1
    samples, _ = read(write([summary]))
    assert math.isnan(value(samples, "s", op="x", quantile="0.99"))


def test_a_gauge_may_be_asked_for() -> None:
    assert write([Gauge("g", "Two\nlines \\.", ask=lambda: 1.5)]) == (
        "# HELP g Two\\nlines \\\\.\n# TYPE g gauge\ng 1.5\n"
    )
