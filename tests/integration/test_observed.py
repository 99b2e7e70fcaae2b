"""What an operator sees: each of CRI-O's metrics is caused, traces reach a collector, the doctor looks."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crio_commands.inspect_client import get
from crio.rpc.status import RpcError
from node import PATIENCE, Node, running, until
from otlp import collector
from registry_server import free_port, make_certificate
from registry_server import registry as running_registry

PREFIX = "container_runtime_crio_"
BIN = Path(sys.executable).parent
WATCHED = """
[crio.runtime.workloads.watched]
activation_annotation = "watched"
allowed_annotations = ["seccomp-notifier-action.crio.io"]
"""


class Scrape:
    """Prometheus' text: values by name and labels."""

    def __init__(self, text: str) -> None:
        self.types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
        self.values: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for line in text.splitlines():
            if line.startswith("#"):
                continue
            match = re.fullmatch(r'([a-zA-Z_:][\w:]*)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)', line)
            assert match, line
            labels = frozenset(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
            self.values[match[1], labels] = float(match[3])

    def sum(self, name: str, /, **labels: str) -> float:
        """Of all lines with these labels; at least one must be there."""
        found = [v for (n, have), v in self.values.items() if n == name and set(labels.items()) <= have]
        assert found, f"no {name}{labels}"
        return sum(found)


@pytest.fixture
async def observed(scratch: Path, layout: str) -> AsyncIterator[Node]:
    """A node with metrics on a unix socket."""
    node = Node(scratch / "node", settings=WATCHED)
    (node.root / "conf.d" / "metrics.conf").write_text(
        f"[crio.metrics]\nenable_metrics = true\nmetrics_port = {free_port()}\n"
        f'metrics_socket = "{node.root}/metrics.sock"\n'
    )
    async with running(node, layout):
        yield node


async def scrape(node: Node) -> Scrape:
    return Scrape((await asyncio.to_thread(get, f"{node.root}/metrics.sock", "/metrics")).decode())


async def test_every_metric_counts_what_it_says(observed: Node, layout: str, tmp_path: Path) -> None:
    node = observed
    pod_config = node.pod_config()
    pod = await node.run_pod(pod_config)
    with pytest.raises(RpcError):
        await node.call(
            "PodSandboxStatus", pb.PodSandboxStatusRequest(pod_sandbox_id="f" * 64), pb.PodSandboxStatusResponse
        )
    hungry = node.container_config(["sh", "-c", "x=a; while :; do x=$x$x; done"], name="hungry")
    hungry.linux.resources.memory_limit_in_bytes = 32 << 20
    container = await node.create(pod, hungry, pod_config)
    await node.start_container(container)
    assert (await node.wait_exited(container)).reason == "OOMKilled"

    orphan = await node.create(pod, node.container_config(["sleep", "1000"], name="orphan"), pod_config)
    await node.start_container(orphan)
    monitor = int((node.root / "state" / "containers" / orphan / "conmon.pid").read_text())
    os.kill(monitor, signal.SIGKILL)
    await node.wait_exited(orphan)

    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    with running_registry(str(tmp_path)) as registry:
        registry.push(f"oci:{layout}", "busybox:1")
        registry.push(f"oci:{layout}", "other:1")
        (node.root / "registries.conf").write_text(f'[[registry]]\nlocation = "{registry.host}"\ninsecure = true\n')
        await pull(node, f"{registry.host}/busybox:1")
        with pytest.raises(RpcError):
            await pull(node, f"{registry.host}/nothing:1")
    with pytest.raises(RpcError):
        await pull(node, f"{registry.host}/gone:1")

    await create_with_a_short_deadline(node, pod, pod_config)
    found = await scrape(node)
    zombie.wait()
    counted = {
        "operations_total": {"operation": "RunPodSandbox"},
        "operations_errors_total": {"operation": "PodSandboxStatus"},
        "operations_latency_seconds": {"operation": "CreateContainer"},
        "operations_latency_seconds_total_count": {"operation": "CreateContainer"},
        "containers_oom_total": {},
        "containers_oom_count_total": {"name": "k8s_hungry_pod_default_uid-pod_0"},
        "containers_stopped_monitor_count": {"name": "k8s_orphan_pod_default_uid-pod_0"},
        "processes_defunct": {},
        "image_pulls_success_total": {},
        "image_layer_reuse_total": {},
        "image_pulls_skipped_bytes_total": {},
        "resources_stalled_at_stage": {},
        "default_runtime": {"runtime": "crun"},
    }
    for name, labels in counted.items():
        assert found.sum(f"{PREFIX}{name}", **labels) > 0, name
    assert found.sum(f"{PREFIX}image_pulls_failure_total", error="MANIFEST_UNKNOWN") == 1
    assert found.sum(f"{PREFIX}image_pulls_failure_total", error="CONNECTION_REFUSED") == 1
    assert found.sum(f"{PREFIX}image_pulls_bytes_total", mediatype="application/vnd.oci.image.layer.v1.tar+gzip") > 0
    assert found.sum(f"{PREFIX}image_pulls_layer_size_count") >= 1
    assert found.sum(f"{PREFIX}containers_events_dropped_total") == 0
    for operation in ("network_setup_pod", "network_setup_overall"):
        assert found.sum(f"{PREFIX}operations_total", operation=operation) == 1
    assert found.sum("crio_rpc_duration_seconds_count", rpc="RunPodSandbox", code="OK") == 1
    assert found.sum("crio_job_stage_duration_seconds_count", job="RunPodSandbox", stage="network") == 1
    assert found.sum("crio_cni_plugin_duration_seconds_count", command="ADD") >= 1
    assert found.sum("crio_runtime_call_duration_seconds_count", call="start") >= 1
    assert found.sum("crio_rpc_connections") >= 1
    assert found.types["crio_rpc_calls"] == found.types["crio_stream_sessions"] == "gauge"
    assert found.sum("process_resident_memory_bytes") > 1 << 20
    assert found.types[f"{PREFIX}operations_latency_seconds_total"] == "summary"


async def test_forbidden_calls_are_counted_by_container_and_name(observed: Node) -> None:
    node = observed
    pod_config = node.host_network(node.pod_config())
    pod_config.annotations.update({"watched": "", "seccomp-notifier-action.crio.io": "count"})
    config = node.container_config(["sh", "-c", "chroot / true; chroot / true; exec sleep 900"])
    config.linux.security_context.seccomp.profile_type = pb.SecurityProfile.RuntimeDefault
    container = await node.create(await node.run_pod(pod_config), config, pod_config)
    await node.start_container(container)
    labels = {"name": "k8s_ctr_pod_default_uid-pod_0", "syscall": "chroot"}

    async def counted() -> bool:
        found = await scrape(node)
        name = f"{PREFIX}containers_seccomp_notifier_count_total"
        return found.values.get((name, frozenset(labels.items()))) == 2

    async with asyncio.timeout(PATIENCE):
        while not await counted():
            await asyncio.sleep(0.05)
    assert (await node.status(container)).state == pb.CONTAINER_RUNNING


async def create_with_a_short_deadline(node: Node, pod: str, pod_config: pb.PodSandboxConfig) -> None:
    """The daemon gives up a quarter of a second before its caller, which it must hear of by then."""
    async with asyncio.timeout(PATIENCE):
        for number in itertools.count():
            slow = node.container_config(["sleep", "1"], name=f"slow{number}")
            slow.linux.security_context.namespace_options.pid = pb.CONTAINER
            request = pb.CreateContainerRequest(pod_sandbox_id=pod, config=slow, sandbox_config=pod_config)
            with contextlib.suppress(RpcError):
                await node.call("CreateContainer", request, pb.CreateContainerResponse, timeout=0.26)
            if any(name == f"{PREFIX}resources_stalled_at_stage" for name, _ in (await scrape(node)).values):
                return


async def pull(node: Node, name: str) -> None:
    request = pb.PullImageRequest(image=pb.ImageSpec(image=name))
    await node.call("PullImage", request, pb.PullImageResponse)


async def test_metrics_over_tls_with_a_certificate_that_changes(scratch: Path) -> None:
    node, port = Node(scratch / "node"), free_port()
    old, new = (make_certificate(str(scratch), name) for name in ("old", "new"))
    drop_in = node.root / "conf.d" / "metrics.conf"

    def write(pair: tuple[str, str]) -> None:
        drop_in.write_text(
            f"[crio.metrics]\nenable_metrics = true\nmetrics_port = {port}\n"
            f'metrics_cert = "{pair[0]}"\nmetrics_key = "{pair[1]}"\n'
        )

    def served(certificate: str) -> bool:
        context = ssl.create_default_context(cafile=certificate)
        try:
            with urllib.request.urlopen(f"https://127.0.0.1:{port}/metrics", context=context, timeout=60) as answer:
                return b"process_cpu_seconds_total" in answer.read()
        except OSError:
            return False

    try:
        write(old)
        await node.start()
        await until("the certificate", lambda: served(old[0]))
        write(new)
        assert node.process is not None
        node.process.send_signal(signal.SIGHUP)
        await until("the new certificate", lambda: served(new[0]))
        assert await node.stop() == 0
    finally:
        node.remove_files()


async def test_traces_reach_a_collector_with_the_callers_context(scratch: Path, layout: str) -> None:
    with collector() as (received, endpoint):
        node = Node(scratch / "node")
        (node.root / "conf.d" / "tracing.conf").write_text(
            f'[crio.tracing]\nenable_tracing = true\ntracing_endpoint = "{endpoint}"\n'
        )
        await node.start()
        try:
            await node.load(layout)
            caller = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
            pod_config = node.pod_config()
            request = pb.RunPodSandboxRequest(config=pod_config)
            method = "/runtime.v1.RuntimeService/RunPodSandbox"
            answer = await node.client.unary(method, request, pb.RunPodSandboxResponse, 60.0, metadata=caller)
            container = await node.create(answer.pod_sandbox_id, node.container_config(["sleep", "1000"]), pod_config)
            await node.start_container(container)
            await node.remove_pod(answer.pod_sandbox_id)
            shown = await asyncio.to_thread(crioctl, node, "trace", "pod")
            assert await node.stop() == 0
        finally:
            node.remove_files()
        spans = received.spans()
        # Nothing but what the caller has sampled: the node's own rate is 0.
        assert {span.trace for span in spans} == {"ab" * 16}
        (root,) = (span for span in spans if span.parent == "cd" * 8)
        assert root.name == method
        assert root.attributes["pod"] == answer.pod_sandbox_id
        assert root.attributes["namespace"] == "default"
        assert root.resource["service.name"] == "crio"
        inside = [span.name for span in spans if span.parent == root.id]
        assert {"RunPodSandbox: network", "RunPodSandbox: files", "CNI ADD bridge"} <= set(inside)
        assert all(span.start <= span.end and not span.failed for span in spans)
    lines = shown.stdout.splitlines()
    assert "RunPodSandbox" in lines[0]
    assert any(("CNI ADD bridge" in line and "█" in line) or "▏" in line for line in lines)
    assert all(call in shown.stdout for call in ("CreateContainer", "StartContainer", "RemovePodSandbox"))


def crioctl(node: Node, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "crioctl"), "-r", node.endpoint, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"PATH": os.environ["PATH"], "CONTAINERS_REGISTRIES_CONF": f"{node.root}/registries.conf"},
    )


async def test_the_doctor_examines_the_node(observed: Node) -> None:
    node = observed
    files = ("--crio-config", f"{node.root}/crio.conf", "--crio-config-dir", f"{node.root}/conf.d", "--offline")
    pod = await node.run_pod(node.pod_config())
    leftover = node.root / "ns" / "netns" / ("e" * 64)
    leftover.touch()
    done = await asyncio.to_thread(crioctl, node, "doctor", "-o", "json", *files)
    leftover.unlink()
    assert done.stderr == ""
    found = json.loads(done.stdout)
    by_subject = {each["subject"]: each for each in found if each["level"] == "ok"}
    assert {"daemon", "kernel", "storage", "network", "runtimes", "configuration"} <= set(by_subject)
    assert "is ready" in by_subject["daemon"]["text"]
    left = [each["text"] for each in found if each["subject"] == "leftovers"]
    assert any("e" * 64 in text and pod not in text for text in left)
    assert not [each for each in found if each["level"] == "error"]
    assert done.returncode == 0

    flush = ["nsenter", f"--net={node.root}/ns/netns/{pod}", "ip", "address", "flush", "dev", "eth0"]
    await asyncio.to_thread(subprocess.run, flush, check=True)
    done = await asyncio.to_thread(crioctl, node, "doctor", *files)
    assert done.returncode == 1
    assert re.search(rf"error\s+network\s+the network of pod default/\S+ \({pod[:12]}\) is not as", done.stdout)

    (node.root / "net.d" / "10-test.conflist").unlink()
    (node.root / "conf.d" / "wrong.conf").write_text('[crio.runtime]\nlog_levle = "info"\nlog_filter = "x"\n')
    done = await asyncio.to_thread(crioctl, node, "doctor", *files)
    assert done.returncode == 1
    assert re.search(r"error\s+network\s+there is no CNI network", done.stdout)
    assert re.search(r"warning\s+configuration\s+\S+wrong.conf:2: unknown key log_levle.*log_level", done.stdout)
    assert re.search(r"warning\s+configuration\s+the running daemon has other values.*log_filter", done.stdout)
    (node.root / "conf.d" / "wrong.conf").write_text("[crio.runtime]\nlog_level = 3\n")
    done = await asyncio.to_thread(crioctl, node, "doctor", "-q", *files)
    assert re.search(r"error\s+configuration\s+\S+wrong.conf:2: log_level must be a string", done.stdout)
    assert done.returncode == 1
    (node.root / "conf.d" / "wrong.conf").unlink()


async def test_log_lines_tell_what_they_are_about(observed: Node) -> None:
    node = observed
    pod = await node.run_pod(node.pod_config("tagged"))
    line = next(line for line in node.log_tail(500).splitlines() if "is READY" in line)
    assert "pod_name=tagged namespace=default" in line
    assert "name=/runtime.v1.RuntimeService/RunPodSandbox" in line
    assert re.search(r" id=\S+", line)
    await node.remove_pod(pod)
    await until(
        "the removal is told",
        lambda: any(f"pod={pod}" in line for line in node.log_tail(500).splitlines() if "RemovePodSandbox" in line),
    )
