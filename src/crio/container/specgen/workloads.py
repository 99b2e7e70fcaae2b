"""Workload partitioning: CPU settings that crio.conf's [crio.runtime.workloads] gives to pods of a kind."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from crio.base.errors import InvalidArgument
from crio.base.jsontext import UNREADABLE
from crio.config.tables.handler import Resources as Defaults
from crio.config.tables.handler import Workload
from crio.container.specgen.resources import check_cpu_list
from crio.sandbox.annotations import active_workload
from crio.security.host import HostFacts
from crio.spec.oci_runtime import Cpu, Resources

_DEFAULT_PERIOD = 100_000
_MIN_PERIOD = 1_000
_MAX = 1 << 40


class _Override(msgspec.Struct, forbid_unknown_fields=True):
    """What the annotation PREFIX/CONTAINER may hold; 0 and "" mean the workload's default."""

    cpushares: int = 0
    cpuquota: int = 0
    cpuperiod: int = 0
    cpuset: str = ""
    cpulimit: int = 0


_decoder = msgspec.json.Decoder(_Override)


def apply_workload(
    resources: Resources,
    workloads: Mapping[str, Workload],
    pod_annotations: Mapping[str, str],
    container: str,
    host: HostFacts,
) -> None:
    """Change the CPU limits as the pod's workload says. Raises InvalidArgument for an annotation that is malformed."""
    workload = active_workload(workloads, pod_annotations) if workloads else None
    if workload is None:
        return
    shares, quota, period, cpus = _settings(workload, pod_annotations, container)
    cpu = resources.cpu or Cpu()
    if "cpu" in host.controllers:
        cpu.shares = shares or cpu.shares
        cpu.quota = quota or cpu.quota
        cpu.period = period or cpu.period
    if "cpuset" in host.controllers:
        cpu.cpus = cpus or cpu.cpus
    if cpu != Cpu():
        resources.cpu = cpu


def _settings(workload: Workload, annotations: Mapping[str, str], container: str) -> tuple[int, int, int, str]:
    defaults: Defaults = workload.resources
    key = f"{workload.annotation_prefix}/{container}"
    text = annotations.get(key)
    override = _Override()
    if text:
        try:
            override = _decoder.decode(text)
        except UNREADABLE as error:
            raise InvalidArgument(f"cannot use annotation {key}: {error}") from None
    numbers = {
        name: getattr(override, name) or getattr(defaults, name)
        for name in ("cpushares", "cpuquota", "cpuperiod", "cpulimit")
    }
    for name, number in numbers.items():
        if not (0 <= number <= _MAX or (name == "cpuquota" and number == -1)):
            raise InvalidArgument(f"cannot use annotation {key}: {name} {number} is out of range")
    period = numbers["cpuperiod"]
    if period and period < _MIN_PERIOD:
        raise InvalidArgument(f"cannot use annotation {key}: cpuperiod {period} is below {_MIN_PERIOD} microseconds")
    quota = numbers["cpuquota"]
    if numbers["cpulimit"]:
        # Thousandths of a CPU; the kernel's least quota is one millisecond.
        quota = max(numbers["cpulimit"] * (period or _DEFAULT_PERIOD) // 1000, _MIN_PERIOD)
    return numbers["cpushares"], quota, period, check_cpu_list(override.cpuset or defaults.cpuset)
