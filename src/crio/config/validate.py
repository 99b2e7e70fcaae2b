"""Checks that need more than one value, or more than a value's type. Pure but for files that keys name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from crio.base.regex import regex
from crio.config.annotations import check_allowed
from crio.config.problem import Problem, Source
from crio.config.tables.observability import COLLECTORS, POD_METRICS

MIN_STOP_TIMEOUT = 30
MIN_LOG_SIZE = 8192
MAX_CPUS = 8192

_LIMITS = frozenset(
    "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)
_CAPABILITY = regex(r"(?:CAP_)?[A-Z][A-Z_]+")
_SYSCTL = regex(r"[A-Za-z0-9_./-]+=[^+\x00-\x1f]*")
_METRIC_PREFIX = regex(r"^(?:container_runtime_)?(?:crio_)?")


def check_values(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Pairs of a key's dotted name and what is wrong with its value. `values` has every key that was set."""
    for dotted, check in _CHECKS.items():
        if dotted in values:
            try:
                check(values[dotted])
            except ValueError as error:
                yield dotted, str(error)


def check_together(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """As `check_values`, for keys that depend on each other."""
    if values.get("crio.api.stream_enable_tls"):
        for name in ("stream_tls_cert", "stream_tls_key"):
            if not values.get(f"crio.api.{name}"):
                yield "crio.api.stream_enable_tls", f"is true, but {name} is empty"
    cert, key = values.get("crio.metrics.metrics_cert", ""), values.get("crio.metrics.metrics_key", "")
    if bool(cert) != bool(key):
        yield (
            "crio.metrics.metrics_cert" if cert else "crio.metrics.metrics_key",
            ("needs metrics_key" if cert else "needs metrics_cert"),
        )
    group = values.get("crio.runtime.separate_pull_cgroup", "")
    manager = values.get("crio.runtime.cgroup_manager", "systemd")
    is_path, is_slice = group.startswith("/"), group.endswith(".slice")
    if is_path is not is_slice and is_path is (manager == "systemd"):
        form = "a slice" if manager == "systemd" else "a path"
        yield "crio.runtime.separate_pull_cgroup", f'must be "pod" or {form} with cgroup_manager {manager}: "{group}"'


def check_workload(name: str, workload: Mapping[str, Any]) -> str:
    """What is wrong with [crio.runtime.workloads.NAME]; empty if nothing."""
    try:
        if not workload.get("activation_annotation"):
            raise ValueError(f"workload {name} needs an activation_annotation")
        check_allowed(workload.get("allowed_annotations", ()))
        resources = workload.get("resources", {})
        if resources.get("cpuset"):
            parse_cpuset(resources["cpuset"])
        for field in ("cpushares", "cpuperiod", "cpulimit"):
            if resources.get(field, 0) < 0:
                raise ValueError(f"{field} of workload {name} must not be negative")
    except ValueError as error:
        return str(error)
    return ""


def adjust(values: dict[str, Any], source_of: Callable[[str], Source]) -> Iterator[Problem]:
    """Put what CRI-O corrects by itself right; yields a warning where the operator should know."""
    timeout = values.get("crio.runtime.ctr_stop_timeout", MIN_STOP_TIMEOUT)
    if timeout < MIN_STOP_TIMEOUT:
        values["crio.runtime.ctr_stop_timeout"] = MIN_STOP_TIMEOUT
        yield Problem(
            source_of("crio.runtime.ctr_stop_timeout"),
            f"ctr_stop_timeout is raised from {timeout} to {MIN_STOP_TIMEOUT} seconds, the lowest that is allowed",
        )
    for name in ("grpc_max_send_msg_size", "grpc_max_recv_msg_size"):
        if values.get(f"crio.api.{name}", 1) <= 0:
            del values[f"crio.api.{name}"]
    collectors = values.get("crio.metrics.metrics_collectors")
    if collectors is not None:
        names = tuple(metric_name(name) for name in collectors)
        values["crio.metrics.metrics_collectors"] = tuple(name for name in names if name in COLLECTORS)
        for name in names:
            if name not in COLLECTORS:
                text = f'metrics_collectors has "{name}", which is no metric{_nearest(name, COLLECTORS)}'
                yield Problem(source_of("crio.metrics.metrics_collectors"), text)
    plugin_dir = values.pop("crio.network.plugin_dir", "")
    if plugin_dir:
        directories = values.get("crio.network.plugin_dirs", ("/opt/cni/bin",))
        values["crio.network.plugin_dirs"] = (*directories, plugin_dir)
    if values.get("crio.runtime.enable_criu_support") is False:
        values["crio.checkpoint_restore.container_level_enabled"] = "none"
    if values.get("crio.api.tls_min_version") == "VersionTLS13" and values.get("crio.api.tls_cipher_suites"):
        yield Problem(source_of("crio.api.tls_cipher_suites"), "tls_cipher_suites has no effect with VersionTLS13")
    if values.get("crio.image.insecure_registries"):
        yield Problem(
            source_of("crio.image.insecure_registries"),
            "insecure_registries has no effect; set insecure = true for these registries in registries.conf",
        )


def metric_name(name: str) -> str:
    """The name of a metric without the prefixes that people may write."""
    return _METRIC_PREFIX.sub("", name)


def _nearest(name: str, known: Sequence[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, 1)
    return f"; the nearest is {near[0]}" if near else ""


def parse_cpuset(text: str) -> frozenset[int]:
    """The CPUs of a list such as "0-3,7". ValueError if it is none."""
    cpus: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,5})(?:-(\d{1,5}))?\s*", part)
        if match is None:
            raise ValueError(f'must be a list of CPUs such as "0-3,7", but is "{text}"')
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last >= MAX_CPUS:
            raise ValueError(f'has a range of CPUs that cannot be: "{part.strip()}"')
        cpus.update(range(first, last + 1))
    return frozenset(cpus)


def _absolute(path: str) -> None:
    if not os.path.isabs(path):
        raise ValueError(f'must be an absolute path, but is "{path}"')


def _absolute_or_empty(path: str) -> None:
    if path:
        _absolute(path)


def _all_absolute(paths: tuple[str, ...]) -> None:
    for path in paths:
        _absolute(path)


def _cpuset(text: str) -> None:
    if text:
        parse_cpuset(text)


def _ulimits(limits: tuple[str, ...]) -> None:
    for limit in limits:
        match = re.fullmatch(r"([a-z]+)=(-?\d+)(?::(-?\d+))?", limit)
        if match is None:
            raise ValueError(f'must have elements of the form "name=soft:hard", but has "{limit}"')
        if match[1] not in _LIMITS:
            raise ValueError(f'has "{limit}", but there is no resource limit {match[1]}')
        soft, hard = int(match[2]), int(match[3] or match[2])
        if hard != -1 and (soft == -1 or soft > hard):
            raise ValueError(f'has "{limit}", whose soft limit is above the hard one')


def _sysctls(sysctls: tuple[str, ...]) -> None:
    for sysctl in sysctls:
        if not _SYSCTL.fullmatch(sysctl):
            raise ValueError(f'must have elements of the form "name=value", but has "{sysctl}"')


def _environment(variables: tuple[str, ...]) -> None:
    for variable in variables:
        if "=" not in variable or variable.startswith("=") or "\0" in variable:
            raise ValueError(f'must have elements of the form "NAME=value", but has "{variable}"')


def _capabilities(names: tuple[str, ...]) -> None:
    for name in names:
        if not _CAPABILITY.fullmatch(name.upper()):
            raise ValueError(f'has "{name}", which is no capability')


def _devices(devices: tuple[str, ...]) -> None:
    for device in devices:
        parts = device.split(":")
        if not 1 <= len(parts) <= 3 or not parts[0].startswith("/dev/"):
            raise ValueError(f'must have elements of the form "/dev/x:/dev/y:rwm", but has "{device}"')
        if len(parts) == 3 and not re.fullmatch("[rwm]+", parts[2]):
            raise ValueError(f'has "{device}", whose permissions are not of the letters r, w and m')


def _mappings(text: str) -> None:
    for mapping in text.split(",") if text else ():
        if not re.fullmatch(r"\d+:\d+:\d+", mapping):
            raise ValueError(f'must be of the form "container:host:size,...", but is "{text}"')


def _regular_expression(text: str) -> None:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is no regular expression: {error}") from None


def _timezone(name: str) -> None:
    if not name or name.lower() == "local":
        return
    if ".." in name or name.startswith("/") or not os.path.isfile(f"/usr/share/zoneinfo/{name}"):
        raise ValueError(f'is "{name}", which is no time zone of this machine (see /usr/share/zoneinfo)')


def _log_size(size: int) -> None:
    if 0 <= size < MIN_LOG_SIZE:
        raise ValueError(f"must be negative or at least {MIN_LOG_SIZE}, but is {size}")


def _not_negative(value: int) -> None:
    if value < 0:
        raise ValueError(f"must not be negative, but is {value}")


def _port(port: int) -> None:
    if not 0 <= port <= 65535:
        raise ValueError(f"must be from 0 to 65535, but is {port}")


def _port_text(text: str) -> None:
    if not text.isascii() or not text.isdigit():
        raise ValueError(f'must be a port number, but is "{text}"')
    _port(int(text))


def _image(name: str) -> None:
    if not re.fullmatch(r"[a-z0-9][A-Za-z0-9._/:@\[\]-]*", name):
        raise ValueError(f'must be the name of an image, but is "{name}"')


def _pod_metrics(names: tuple[str, ...]) -> None:
    for name in names:
        if name == "all":
            if len(names) > 1:
                raise ValueError('must have "all" as its only element if it has it')
        elif name not in POD_METRICS:
            raise ValueError(f'has "{name}", but the groups are {", ".join(POD_METRICS)}')


def _pull_cgroup(name: str) -> None:
    is_path = name.startswith("/") and ".." not in name.split("/") and not name.endswith(".slice")
    is_slice = name.endswith(".slice") and "/" not in name
    if name not in ("", "pod") and not is_path and not is_slice:
        raise ValueError(f'must be "pod", a slice (with systemd) or a path (with cgroupfs), but is "{name}"')


def _per_million(rate: int) -> None:
    if not 0 <= rate <= 1_000_000:
        raise ValueError(f"must be from 0 to 1000000, but is {rate}")


_CHECKS: Mapping[str, Callable[[Any], None]] = {
    "crio.root": _absolute,
    "crio.runroot": _absolute,
    "crio.imagestore": _absolute_or_empty,
    "crio.log_dir": _absolute,
    "crio.version_file": _absolute_or_empty,
    "crio.version_file_persist": _absolute_or_empty,
    "crio.clean_shutdown_file": _absolute_or_empty,
    "crio.api.listen": _absolute,
    "crio.api.stream_port": _port_text,
    "crio.runtime.additional_artifact_stores": _all_absolute,
    "crio.runtime.default_ulimits": _ulimits,
    "crio.runtime.default_env": _environment,
    "crio.runtime.conmon_env": _environment,
    "crio.runtime.min_injected_gomaxprocs": _not_negative,
    "crio.runtime.default_capabilities": _capabilities,
    "crio.runtime.default_sysctls": _sysctls,
    "crio.runtime.additional_devices": _devices,
    "crio.runtime.allowed_devices": _devices,
    "crio.runtime.log_filter": _regular_expression,
    "crio.runtime.log_size_max": _log_size,
    "crio.runtime.container_exits_dir": _absolute,
    "crio.runtime.container_attach_socket_dir": _absolute,
    "crio.runtime.namespaces_dir": _absolute,
    "crio.runtime.uid_mappings": _mappings,
    "crio.runtime.gid_mappings": _mappings,
    "crio.runtime.infra_ctr_cpuset": _cpuset,
    "crio.runtime.shared_cpuset": _cpuset,
    "crio.runtime.timezone": _timezone,
    "crio.runtime.separate_pull_cgroup": _pull_cgroup,
    "crio.image.pause_image": _image,
    "crio.image.signature_policy_dir": _absolute,
    "crio.image.namespaced_auth_dir": _absolute,
    "crio.network.network_dir": _absolute,
    "crio.network.plugin_dirs": _all_absolute,
    "crio.metrics.metrics_port": _port,
    "crio.metrics.metrics_socket": _absolute_or_empty,
    "crio.tracing.tracing_sampling_rate_per_million": _per_million,
    "crio.stats.collection_period": _not_negative,
    "crio.stats.stats_collection_period": _not_negative,
    "crio.stats.included_pod_metrics": _pod_metrics,
    "crio.nri.nri_listen": _absolute,
}
