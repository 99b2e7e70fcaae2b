"""The metrics of pods and containers that the CRI hands to the kubelet, with the names that cAdvisor gave them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from crio.api.runtime.v1 import api_pb2 as pb

BASE_LABELS = ("id", "image", "namespace", "pod", "container")


class Descriptor(msgspec.Struct, frozen=True):
    """One metric: its label values come in the order of BASE_LABELS and then `labels`."""

    name: str
    help: str
    group: str
    counter: bool = False
    labels: tuple[str, ...] = ()

    def message(self) -> pb.MetricDescriptor:
        return pb.MetricDescriptor(name=self.name, help=self.help, label_keys=[*BASE_LABELS, *self.labels])


ALWAYS = "always"
_DEVICE = ("device",)
_INTERFACE = ("interface",)

_ROWS: tuple[tuple[str, str, str, bool, tuple[str, ...]], ...] = (
    ("container_last_seen", "Unix time at which the container was last seen", ALWAYS, False, ()),
    ("container_cpu_user_seconds_total", "CPU time in user mode, in seconds", "cpu", True, ()),
    ("container_cpu_system_seconds_total", "CPU time in the kernel, in seconds", "cpu", True, ()),
    ("container_cpu_usage_seconds_total", "CPU time in all, in seconds", "cpu", True, ("cpu",)),
    ("container_cpu_cfs_periods_total", "Enforcement periods that have passed", "cpu", True, ()),
    ("container_cpu_cfs_throttled_periods_total", "Periods in which it was throttled", "cpu", True, ()),
    ("container_cpu_cfs_throttled_seconds_total", "Time for which it was throttled, in seconds", "cpu", True, ()),
    ("container_fs_inodes_free", "Free inodes of the file system", "disk", False, _DEVICE),
    ("container_fs_inodes_total", "Inodes of the file system", "disk", False, _DEVICE),
    ("container_fs_limit_bytes", "Size of the file system", "disk", False, _DEVICE),
    ("container_fs_usage_bytes", "Bytes of the container's writable layer", "disk", False, _DEVICE),
    ("container_fs_reads_bytes_total", "Bytes read", "diskIO", True, _DEVICE),
    ("container_fs_reads_total", "Reads completed", "diskIO", True, _DEVICE),
    ("container_fs_writes_bytes_total", "Bytes written", "diskIO", True, _DEVICE),
    ("container_fs_writes_total", "Writes completed", "diskIO", True, _DEVICE),
    (
        "container_blkio_device_usage_total",
        "Bytes by device and operation",
        "diskIO",
        True,
        ("device", "major", "minor", "operation"),
    ),
    ("container_hugetlb_usage_bytes", "Use of huge pages", "hugetlb", False, ("pagesize",)),
    ("container_hugetlb_max_usage_bytes", "Highest use of huge pages", "hugetlb", False, ("pagesize",)),
    ("container_memory_cache", "Page cache, in bytes", "memory", False, ()),
    ("container_memory_rss", "Anonymous memory, in bytes", "memory", False, ()),
    ("container_memory_kernel_usage", "Kernel memory, in bytes", "memory", False, ()),
    ("container_memory_mapped_file", "Mapped files, in bytes", "memory", False, ()),
    ("container_memory_swap", "Swap in use, in bytes", "memory", False, ()),
    ("container_memory_failcnt", "How often the limit was hit", "memory", True, ()),
    ("container_memory_usage_bytes", "Memory in use, in bytes", "memory", False, ()),
    ("container_memory_max_usage_bytes", "Highest memory in use, in bytes", "memory", False, ()),
    ("container_memory_working_set_bytes", "Memory that can't be taken back easily, in bytes", "memory", False, ()),
    ("container_memory_failures_total", "Page faults", "memory", True, ("failure_type", "scope")),
    ("container_network_receive_bytes_total", "Bytes received", "network", True, _INTERFACE),
    ("container_network_receive_packets_total", "Packets received", "network", True, _INTERFACE),
    ("container_network_receive_packets_dropped_total", "Received packets dropped", "network", True, _INTERFACE),
    ("container_network_receive_errors_total", "Errors while receiving", "network", True, _INTERFACE),
    ("container_network_transmit_bytes_total", "Bytes sent", "network", True, _INTERFACE),
    ("container_network_transmit_packets_total", "Packets sent", "network", True, _INTERFACE),
    ("container_network_transmit_packets_dropped_total", "Packets to be sent dropped", "network", True, _INTERFACE),
    ("container_network_transmit_errors_total", "Errors while sending", "network", True, _INTERFACE),
    ("container_oom_events_total", "Kills for lack of memory", "oom", True, ()),
    ("container_file_descriptors", "Open files of the container's processes", "process", False, ()),
    ("container_processes", "Processes", "process", False, ()),
    ("container_sockets", "Open sockets of the container's processes", "process", False, ()),
    ("container_threads", "Threads", "process", False, ()),
    ("container_threads_max", "Limit of threads; 0 without one", "process", False, ()),
    ("container_ulimits_soft", "Soft limits of the first process", "process", False, ("ulimit",)),
    ("container_spec_memory_limit_bytes", "Memory limit; 0 without one", "spec", False, ()),
    ("container_spec_cpu_period", "CPU period, in microseconds", "spec", False, ()),
    ("container_spec_cpu_shares", "CPU shares", "spec", False, ()),
    ("container_spec_cpu_quota", "CPU quota, in microseconds", "spec", False, ()),
    ("container_spec_memory_reservation_limit_bytes", "Memory reservation; 0 without one", "spec", False, ()),
    ("container_spec_memory_swap_limit_bytes", "Limit of memory and swap; 0 without one", "spec", False, ()),
    ("container_start_time_seconds", "Unix time of the start", "spec", False, ()),
    ("container_pressure_cpu_stalled_seconds_total", "Time with all tasks stalled on CPU", "pressure", True, ()),
    ("container_pressure_cpu_waiting_seconds_total", "Time with tasks waiting for CPU", "pressure", True, ()),
    ("container_pressure_memory_stalled_seconds_total", "Time with all tasks stalled on memory", "pressure", True, ()),
    ("container_pressure_memory_waiting_seconds_total", "Time with tasks waiting for memory", "pressure", True, ()),
    ("container_pressure_io_stalled_seconds_total", "Time with all tasks stalled on IO", "pressure", True, ()),
    ("container_pressure_io_waiting_seconds_total", "Time with tasks waiting for IO", "pressure", True, ()),
)

DESCRIPTORS: dict[str, Descriptor] = {row[0]: Descriptor(*row) for row in _ROWS}


def chosen(groups: Iterable[str]) -> list[Descriptor]:
    """The metrics of the groups of crio.stats.included_pod_metrics, and those that are always told."""
    wanted = {*groups, ALWAYS}
    return [each for each in DESCRIPTORS.values() if each.group in wanted or "all" in wanted]
