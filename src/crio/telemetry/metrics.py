"""The daemon's metrics: the 18 of CRI-O by their names, and histograms beside them.

The daemon makes one `Metrics` and hands it to the rooms, which call the method that says what happened.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from crio.telemetry.metric import Counter, Gauge, Histogram, Metric, Summary
from crio.telemetry.process import defunct_processes, process_metrics
from crio.telemetry.text import write

PREFIX = "container_runtime_crio_"

_MB = 1000 * 1000
_SIZES = (1000, _MB, *(n * _MB for n in (10, 50, 100, 200, 300, 400, 500, 1000, 10_000)))
_SIZE_NAMES = (
    ">0 B",
    ">1 KiB",
    ">1 MiB",
    ">10 MiB",
    ">50 MiB",
    ">100 MiB",
    ">200 MiB",
    ">300 MiB",
    ">400 MiB",
    ">500 MiB",
    ">1 GiB",
    ">10 GiB",
)


class Metrics:
    """All metrics of the daemon. `collectors` are the names, without prefix, of those of CRI-O's that are written."""

    def __init__(self, collectors: Collection[str], *, count_defunct: Callable[[], float] = defunct_processes) -> None:
        self.choose(collectors)
        self._layer_sizes = Histogram(
            f"{PREFIX}image_pulls_layer_size", "Size in bytes of each pulled layer.", buckets=_SIZES
        )
        self._events_dropped = Counter(
            f"{PREFIX}containers_events_dropped_total", "Container events that a slow client did not get."
        )
        self._oom = Counter(f"{PREFIX}containers_oom_total", "Containers that were killed for lack of memory.")
        self._oom_by_name = Counter(
            f"{PREFIX}containers_oom_count_total", "Containers that were killed for lack of memory, by name.", ("name",)
        )
        self._seccomp = Counter(
            f"{PREFIX}containers_seccomp_notifier_count_total",
            "Forbidden system calls that the seccomp notifier saw.",
            ("name", "syscall"),
        )
        self._monitors_stopped = Counter(
            f"{PREFIX}containers_stopped_monitor_count", "Containers whose monitor ended before them.", ("name",)
        )
        self._defunct = Gauge(f"{PREFIX}processes_defunct", "Processes of the node that nobody waited for.")
        self._count_defunct = count_defunct
        self._operations = Counter(f"{PREFIX}operations_total", "Operations, by kind.", ("operation",))
        self._errors = Counter(f"{PREFIX}operations_errors_total", "Operations that failed, by kind.", ("operation",))
        self._latency = Gauge(
            f"{PREFIX}operations_latency_seconds", "How long the last operation took, by kind.", ("operation",)
        )
        self._latencies = Summary(
            f"{PREFIX}operations_latency_seconds_total", "How long operations take, by kind.", ("operation",)
        )
        self._pulled_bytes = Counter(
            f"{PREFIX}image_pulls_bytes_total", "Bytes that were pulled.", ("mediatype", "size")
        )
        self._skipped_bytes = Counter(
            f"{PREFIX}image_pulls_skipped_bytes_total", "Bytes that were there already and not pulled.", ("size",)
        )
        self._pull_failures = Counter(f"{PREFIX}image_pulls_failure_total", "Pulls that failed.", ("error",))
        self._pull_successes = Counter(f"{PREFIX}image_pulls_success_total", "Pulls that succeeded.")
        self._reused = Counter(f"{PREFIX}image_layer_reuse_total", "Layers that were there already.", ("name",))
        self._stalled = Counter(
            f"{PREFIX}resources_stalled_at_stage",
            "Pods and containers whose creation the caller no longer waited for, by the stage it was in.",
            ("stage",),
        )
        self._default_runtime = Gauge(f"{PREFIX}default_runtime", "The default runtime handler.", ("runtime",))
        self._rpc_seconds = Histogram("crio_rpc_duration_seconds", "How long calls take.", ("rpc", "code"))
        self._stage_seconds = Histogram(
            "crio_job_stage_duration_seconds", "How long stages of pod and container operations take.", ("job", "stage")
        )
        self._plugin_seconds = Histogram(
            "crio_cni_plugin_duration_seconds", "How long CNI plug-ins take.", ("plugin", "command", "result")
        )
        self._runtime_seconds = Histogram(
            "crio_runtime_call_duration_seconds", "How long calls of OCI runtimes take.", ("handler", "call", "result")
        )
        self._process = process_metrics()
        self._watched: list[Gauge] = []

    def watch(self, name: str, text: str, ask: Callable[[], float]) -> None:
        """Write one more gauge from now on, which is asked each time."""
        self._watched.append(Gauge(name, text, ask=ask))

    def choose(self, collectors: Collection[str]) -> None:
        """Write other metrics of CRI-O's from now on; all are counted all the time."""
        self._chosen = frozenset(collectors)

    def operation(self, name: str, seconds: float, *, failed: bool = False) -> None:
        """An operation ended: an RPC by its name, or a part of one such as network_setup_pod."""
        self._operations.add(name)
        self._latency.set(seconds, name)
        self._latencies.observe(seconds, name)
        if failed:
            self._errors.add(name)

    def rpc(self, name: str, code: str, seconds: float) -> None:
        """A call was answered with this status code; it counts as an operation."""
        self.operation(name, seconds, failed=code != "OK")
        self._rpc_seconds.observe(seconds, name, code)

    def stage(self, job: str, stage: str, seconds: float) -> None:
        """A stage of a job ended."""
        self._stage_seconds.observe(seconds, job, stage)

    def stalled(self, stage: str) -> None:
        """A caller gave up while the job was in this stage."""
        self._stalled.add(stage)

    def cni_plugin(self, plugin: str, command: str, seconds: float, *, failed: bool = False) -> None:
        self._plugin_seconds.observe(seconds, plugin, command, _result(failed))

    def runtime_call(self, handler: str, call: str, seconds: float, *, failed: bool = False) -> None:
        self._runtime_seconds.observe(seconds, handler, call, _result(failed))

    def layer_pulled(self, media_type: str, size: int) -> None:
        """A layer or other blob of `size` bytes was pulled."""
        self._layer_sizes.observe(size)
        self._pulled_bytes.add(media_type, size_bucket(size), amount=size)

    def layer_reused(self, name: str, size: int = 0) -> None:
        """A layer did not have to be pulled."""
        self._reused.add(name)
        if size:
            self.bytes_skipped(size)

    def bytes_skipped(self, size: int) -> None:
        """So many bytes of a layer, or the whole of it, did not have to be pulled."""
        self._skipped_bytes.add(size_bucket(size), amount=size)

    def pull_succeeded(self) -> None:
        self._pull_successes.add()

    def pull_failed(self, error: str) -> None:
        """`error` is a class of errors with few values, such as a registry's error code."""
        self._pull_failures.add(error)

    def container_oom(self, name: str) -> None:
        self._oom.add()
        self._oom_by_name.add(name)

    def monitor_stopped(self, name: str) -> None:
        self._monitors_stopped.add(name)

    def events_dropped(self, count: int = 1) -> None:
        self._events_dropped.add(amount=count)

    def seccomp_notified(self, name: str, syscall: str) -> None:
        self._seccomp.add(name, syscall)

    def set_default_runtime(self, name: str) -> None:
        self._default_runtime.only(1, name)

    def look(self) -> None:
        """Find out what `text` will tell of the node: a walk over all processes, not for the event loop."""
        if self._defunct.name.removeprefix(PREFIX) in self._chosen:
            self._defunct.set(self._count_defunct())

    def text(self) -> str:
        """Everything in Prometheus' format; of the node as `look` has found it."""
        return write(self._written())

    def _written(self) -> Iterator[Metric]:
        for metric in self._of_crio():
            if metric.name.removeprefix(PREFIX) in self._chosen:
                yield metric
        yield from (self._rpc_seconds, self._stage_seconds, self._plugin_seconds, self._runtime_seconds)
        yield from self._watched
        yield from self._process

    def _of_crio(self) -> tuple[Metric, ...]:
        return (
            self._layer_sizes,
            self._events_dropped,
            self._oom,
            self._oom_by_name,
            self._seccomp,
            self._monitors_stopped,
            self._defunct,
            self._operations,
            self._errors,
            self._latency,
            self._latencies,
            self._pulled_bytes,
            self._skipped_bytes,
            self._pull_failures,
            self._pull_successes,
            self._reused,
            self._stalled,
            self._default_runtime,
        )


def size_bucket(size: int) -> str:
    """The value of the label `size`, as CRI-O names it."""
    return _SIZE_NAMES[sum(size > limit for limit in _SIZES)]


def _result(failed: bool) -> str:
    return "error" if failed else "ok"
