"""Figures of the daemon's own process, by the names that Prometheus' client libraries give them."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Sequence

from crio.telemetry.metric import Counter, Gauge, Metric, Sample


def process_metrics() -> Sequence[Metric]:
    """Metrics whose values are read when they are written."""
    info = Gauge("python_info", "Version of the interpreter.", ("implementation", "version"))
    info.set(1, sys.implementation.name, sys.version.split()[0])
    return (
        _Cpu(),
        Gauge("process_resident_memory_bytes", "Memory in use.", ask=lambda: _statm(1) * _PAGE),
        Gauge("process_virtual_memory_bytes", "Address space in use.", ask=lambda: _statm(0) * _PAGE),
        Gauge("process_start_time_seconds", "Start of the process since the epoch.", ask=_start_time),
        Gauge("process_open_fds", "Open file descriptors.", ask=lambda: float(len(os.listdir("/proc/self/fd")) - 1)),
        Gauge("process_max_fds", "Limit of open file descriptors.", ask=_max_fds),
        Gauge("process_threads", "Threads of the process.", ask=lambda: float(len(os.listdir("/proc/self/task")))),
        info,
        _Collections(),
    )


def defunct_processes(proc: str = "/proc") -> float:
    """Processes of the node that ended and that nobody has waited for."""
    count = 0
    for name in os.listdir(proc):
        if name.isdigit():
            try:
                with open(f"{proc}/{name}/stat", "rb") as file:
                    stat = file.read(4096)
            except OSError:
                continue
            # The name in brackets may hold anything, also brackets (proc_pid_stat(5)).
            count += stat[stat.rfind(b")") + 2 : stat.rfind(b")") + 3] == b"Z"
    return float(count)


class _Cpu(Counter):
    def __init__(self) -> None:
        super().__init__("process_cpu_seconds_total", "Time on a CPU, of the program and of the kernel for it.")

    def samples(self) -> Iterator[Sample]:
        times = os.times()
        self._values[()] = times.user + times.system
        return super().samples()


class _Collections(Counter):
    def __init__(self) -> None:
        super().__init__("python_gc_collections_total", "Garbage collections of each generation.", ("generation",))

    def samples(self) -> Iterator[Sample]:
        for generation, stats in enumerate(gc.get_stats()):
            self._values[(str(generation),)] = float(stats["collections"])
        return super().samples()


_PAGE = os.sysconf("SC_PAGE_SIZE")


def _statm(field: int) -> float:
    with open("/proc/self/statm", "rb") as file:
        return float(file.read().split()[field])


def _start_time() -> float:
    with open("/proc/self/stat", "rb") as file:
        ticks = int(file.read().rpartition(b")")[2].split()[19])
    with open("/proc/stat", "rb") as file:
        boot = next(int(line.split()[1]) for line in file if line.startswith(b"btime"))
    return boot + ticks / os.sysconf("SC_CLK_TCK")


def _max_fds() -> float:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return float(soft)
