from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from crio.api.crio.v1 import control_pb2
from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl import catalog, main
from crio.cli.crioctl.program import split
from fake_cri import FakeCri

Crioctl = Any
WEB = "2c" * 32


def test_version(cri: FakeCri, crioctl: Crioctl) -> None:
    assert crioctl("version").out == (
        "Version:  0.1.0\nRuntimeName:  cri-o\nRuntimeVersion:  1.36.0\nRuntimeApiVersion:  v1\n"
    )
    assert cri.requests("Version") == [pb.VersionRequest(version="v1")]


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"], ["-D", "help"]])
def test_help_lists_every_verb(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert all(entry.name in out and entry.summary in out for entry in catalog.entries())


def test_help_of_a_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "pods"]) == 0
    first = capsys.readouterr().out
    assert main(["pods", "--help"]) == 0
    assert first == capsys.readouterr().out
    assert first.startswith("usage: crioctl pods [-h]")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspcet"], "crioctl: there is no command 'inspcet'; did you mean 'inspect'?"),
        (["zzz"], "crioctl: there is no command 'zzz'; see `crioctl --help`"),
        (["help", "zzz"], "crioctl: there is no command 'zzz'; see `crioctl --help`"),
        (["--frobnicate", "ps"], "crioctl: unrecognized arguments: --frobnicate (see `crioctl --help`)"),
        (["ps", "--stat", "x"], "crioctl: unrecognized arguments: --stat x (see `crioctl ps --help`)"),
        (["pods", "--label", "x"], "crioctl: argument --label: 'x' is not of the form KEY=VALUE"),
        (["-t", "soon", "ps"], "crioctl: argument -t/--timeout: 'soon' is not a duration such as 2s or 1m30s"),
        (["-r", "tcp://x", "ps"], "crioctl: cannot use the endpoint 'tcp://x'"),
        (["start"], "crioctl: the following arguments are required: CONTAINER"),
    ],
)
def test_wrong_use(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(message)
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["ps", "-a"], ([], "ps", ["-a"])),
        (["-r", "x", "-D", "ps", "-r"], (["-r", "x", "-D"], "ps", ["-r"])),
        (["--timeout=5", "exec", "a", "--", "-x"], (["--timeout=5"], "exec", ["a", "--", "-x"])),
        (["-r"], (["-r"], "", [])),
        ([], ([], "", [])),
    ],
)
def test_split(arguments: list[str], expected: tuple[list[str], str, list[str]]) -> None:
    assert split(arguments) == expected


def test_nobody_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-r", f"unix://{tmp_path}/none.sock", "version"]) == 1
    err = capsys.readouterr().err
    assert f"cannot connect to {tmp_path}/none.sock" in err
    assert err.count("\n") == 1


def test_retries_wait_for_the_runtime(cri: FakeCri, capfd: pytest.CaptureFixture[str]) -> None:
    threading.Timer(0.2, cri.start).start()
    assert main(["-r", cri.endpoint, "--max-retries", "5", "version"]) == 0


def test_retries_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-r", f"{tmp_path}/none.sock", "--max-retries", "1", "version"]) == 1
    assert "after 1 retries" in capsys.readouterr().err


def test_a_runtime_that_does_not_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        assert main(["-r", f"{tmp_path}/s", "-t", "100ms", "version"]) == 1
    assert "no answer within 0.1 s" in capsys.readouterr().err


def test_debug_shows_messages(cri: FakeCri, crioctl: Crioctl) -> None:
    err = crioctl("--debug", "version").err
    assert '> runtime.v1.RuntimeService/Version VersionRequest { "version": "v1" }' in err
    assert '"runtime_name": "cri-o"' in err


def test_separate_image_endpoint(cri: FakeCri, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cri.start()
    assert main(["-r", f"{tmp_path}/none", "-i", cri.endpoint, "images"]) == 0
    assert [name for name, _ in cri.calls] == ["ListImages"]


def test_jobs(cri: FakeCri, crioctl: Crioctl) -> None:
    now = time.time_ns()
    cri.answers["ListJobs"] = control_pb2.ListJobsResponse(
        jobs=[
            control_pb2.Job(
                kind="RunPodSandbox",
                subject="prod/shop",
                stage="network",
                started_at=now - 65 * 10**9,
                stage_started_at=now - 5 * 10**9,
                waiters=1,
            )
        ]
    )
    lines = crioctl("jobs").out.splitlines()
    assert lines[0].split() == ["JOB", "OF", "AGE", "STAGE", "IN", "STAGE", "WAITERS"]
    assert lines[1].split("  ")[0] == "RunPodSandbox"
    assert "About a minute" in lines[1]
    assert "5 seconds" in lines[1]


def test_events(cri: FakeCri, crioctl: Crioctl) -> None:
    event = pb.ContainerEventResponse(
        container_id=WEB, container_event_type=pb.CONTAINER_STARTED_EVENT, created_at=1_700_000_000_123_000_000
    )
    event.pod_sandbox_status.metadata.name, event.pod_sandbox_status.metadata.namespace = "shop", "prod"
    cri.answers["GetContainerEvents"] = [event, event]
    assert crioctl("events", "-o", "{.containerEventType}").out == "CONTAINER_STARTED_EVENT\n" * 2
    line = crioctl("events", "-o", "table").out.splitlines()[0]
    assert line.split()[1:] == ["CONTAINER_STARTED_EVENT", "2c2c2c2c2c2c2", "prod/shop"]


def test_runtime_config(cri: FakeCri, crioctl: Crioctl) -> None:
    cri.answers["RuntimeConfig"] = pb.RuntimeConfigResponse(
        linux=pb.LinuxRuntimeConfiguration(cgroup_driver=pb.CGROUPFS)
    )
    cri.answers["UpdateRuntimeConfig"] = pb.UpdateRuntimeConfigResponse()
    assert crioctl("runtime-config").out == "cgroup driver:   CGROUPFS\n"
    assert crioctl("update-runtime-config", "--pod-cidr", "10.1.0.0/24").code == 0
    assert cri.requests("UpdateRuntimeConfig")[0].runtime_config.network_config.pod_cidr == "10.1.0.0/24"


def test_metrics(cri: FakeCri, crioctl: Crioctl) -> None:
    cri.answers["ListMetricDescriptors"] = pb.ListMetricDescriptorsResponse(
        descriptors=[pb.MetricDescriptor(name="m", label_keys=["id"])]
    )
    cri.answers["ListPodSandboxMetrics"] = pb.ListPodSandboxMetricsResponse(
        pod_metrics=[pb.PodSandboxMetrics(pod_sandbox_id="p", metrics=[pb.Metric(name="m", metric_type=pb.GAUGE)])]
    )
    assert crioctl("metricdescs", "-o", "{.descriptors[*].name}").out == "m\n"
    assert crioctl("metricsp", "-o", "{.podMetrics[0].metrics[0].metricType}").out == "GAUGE\n"


def test_configuration_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "crictl.yaml")
    assert main(["-c", path, "config", "--set", "debug=true,timeout=9"]) == 0
    assert main(["-c", path, "config", "runtime-endpoint", "unix:///x.sock"]) == 0
    assert main(["-c", path, "config", "--get", "timeout"]) == 0
    assert capsys.readouterr().out == "9\n"
    assert main(["-c", path, "config", "--list"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["KEY", "VALUE"],
        ["runtime-endpoint", "unix:///x.sock"],
        ["image-endpoint"],
        ["timeout", "9"],
        ["debug", "true"],
        ["pull-image-on-create", "false"],
        ["disable-pull-on-run", "false"],
        ["max-retries", "3"],
    ]
    for wrong in (["--get", "zzz"], ["--set", "debug"], ["--set", "timeout=soon"], ["--set", "debug=maybe"]):
        assert main(["-c", path, "config", *wrong]) == 1


def test_a_reader_that_goes_away(node: FakeCri) -> None:
    node.start()
    program = f"{sys.executable} -m crio.cli.crioctl -r {node.endpoint} inspect -a | head -c 1"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4] / "src")}
    completed = subprocess.run(["sh", "-c", program], capture_output=True, env=environment, timeout=60, check=True)
    assert (completed.stdout, completed.stderr) == (b"[", b"")


def test_help_imports_little() -> None:
    """The start of every command: nothing of it may bring a library that a list of verbs does not need."""
    program = "import sys; from crio.cli.crioctl import main; main(['--help']); print(' '.join(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4] / "src")}
    completed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60, check=True
    )
    modules = set(completed.stdout.splitlines()[-1].split())
    assert not modules & {"asyncio", "ssl", "rich", "yaml", "google.protobuf", "dataclasses", "inspect", "json"}
    assert not {name for name in modules if name.startswith("crio.cli.crioctl.commands")}


@pytest.mark.parametrize(("arguments", "code"), [(["top", "-d", "60"], 0), (["stop", "2c"], 130)])
def test_interrupts(node: FakeCri, arguments: list[str], code: int) -> None:
    """What goes on for ever is ended by Ctrl-C as it should be; what had an end to come was broken off."""
    node.answers["ListContainerStats"] = pb.ListContainerStatsResponse()
    blocked = threading.Event()
    node.on_StopContainer = lambda request: blocked.wait(120)  # type: ignore[method-assign,assignment,return-value]
    node.start()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4] / "src")}
    argv = [sys.executable, "-m", "crio.cli.crioctl", "-r", node.endpoint, *arguments]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:
        while not node.requests("ListContainerStats") and not node.requests("StopContainer"):
            assert child.poll() is None
            time.sleep(0.02)
        time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    blocked.set()
    assert (child.returncode, err) == (code, b"")


@pytest.mark.parametrize("arguments", [["--version"], ["-v"], ["--version", "ps"]])
def test_own_version(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("crioctl version 1.")
