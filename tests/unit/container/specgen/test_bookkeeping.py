from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from crio.api.runtime.v1 import api_pb2 as pb
from crio.config.tables.handler import RuntimeHandler
from crio.config.tables.runtime import Runtime
from crio.container.specgen.bookkeeping import all_annotations
from crio.container.specgen.input import HandlerFacts, ImageFacts, SandboxFacts
from spec_input import container_config, make_input


def made(
    directory: Path, *, pod: dict[str, str] | None = None, container: dict[str, str] | None = None, **changes: Any
) -> dict[str, str]:
    return all_annotations(
        make_input(directory, **changes),
        pod=pod or {},
        container=container or {},
        volumes=[pb.Mount(container_path="/c", host_path="/h", readonly=True)],
        seccomp_reference="RuntimeDefault",
        stop_signal="SIGTERM",
    )


def test_what_tools_read(tmp_path: Path) -> None:
    found = made(
        tmp_path,
        image=ImageFacts(requested="busybox", name="docker.io/busybox:1", id="cafe", repo_digests=["a@1", "b@2"]),
        sandbox=SandboxFacts(id="s" * 64, name="pod", hostname="web", ips=("10.0.0.1", "fd00::1")),
        log_path="/var/log/x.log",
    )
    prefix = "io.kubernetes.cri-o."
    assert found[prefix + "ContainerType"] == "container"
    assert found[prefix + "SandboxID"] == "s" * 64
    assert found[prefix + "ImageName"] == "docker.io/busybox:1"
    assert found[prefix + "ImageRef"] == "cafe"
    assert found[prefix + "ImageRepoDigests"] == "a@1,b@2"
    assert found[prefix + "IP.0"] == "10.0.0.1"
    assert found[prefix + "IP.1"] == "fd00::1"
    assert found[prefix + "LogPath"] == "/var/log/x.log"
    assert found[prefix + "Created"] == "2023-11-14T22:13:20.123456789Z"
    assert json.loads(found[prefix + "Metadata"]) == {"name": "app", "attempt": 0}
    assert json.loads(found[prefix + "Volumes"])[0]["host_path"] == "/h"
    assert found["io.container.manager"] == "cri-o"
    assert found["org.opencontainers.image.stopSignal"] == "SIGTERM"


def test_a_pod_cannot_pass_for_another(tmp_path: Path) -> None:
    spoofed = {"io.kubernetes.cri-o.SandboxID": "evil", "io.container.manager": "x", "team": "a"}
    config = container_config(labels=spoofed)
    found = made(tmp_path, pod=spoofed, container=spoofed, config=config)
    assert found["io.kubernetes.cri-o.SandboxID"] == "a" * 64
    assert found["io.container.manager"] == "cri-o"
    assert found["team"] == "a"


def test_traced_container(tmp_path: Path) -> None:
    pod = {"io.containers.trace-syscall/app": "of:/x", "io.containers.trace-syscall/other": "of:/y"}
    assert made(tmp_path, pod=pod)["io.containers.trace-syscall"] == "of:/x"


def test_systemd_properties(tmp_path: Path) -> None:
    runtime = Runtime(cgroup_manager="systemd")
    grace = "io.kubernetes.pod.terminationGracePeriod"
    found = made(tmp_path, container={grace: "30"}, runtime=runtime)
    assert found["org.systemd.property.TimeoutStopUSec"] == "uint64 30000000"
    assert found["org.systemd.property.After"] == "['crio.service']"
    assert not [name for name in made(tmp_path) if name.startswith("org.systemd")]


@pytest.mark.parametrize("value", ["30'] --x", "-1", "1e9", "", "9" * 30])
def test_grace_period_is_a_number(tmp_path: Path, value: str) -> None:
    """CVE-2024-3154: what goes into a systemd property is checked."""
    found = made(
        tmp_path,
        container={"io.kubernetes.pod.terminationGracePeriod": value},
        runtime=Runtime(cgroup_manager="systemd"),
    )
    assert "org.systemd.property.TimeoutStopUSec" not in found


def test_defaults_of_the_handler_give_way(tmp_path: Path) -> None:
    handler = HandlerFacts(name="crun", settings=RuntimeHandler(default_annotations={"a": "handler", "b": "handler"}))
    found = made(tmp_path, handler=handler, pod={"b": "pod"})
    assert (found["a"], found["b"]) == ("handler", "pod")


def test_image_labels_are_no_annotations(tmp_path: Path) -> None:
    """CVE-2026-53488: what an image says about itself reaches no runtime."""
    given = make_input(tmp_path)
    given = replace(given, image=replace(given.image, annotations={"run.oci.handler": "krun"}))
    found = all_annotations(given, pod={}, container={}, volumes=[], seccomp_reference="", stop_signal="SIGTERM")
    assert "run.oci.handler" not in found


def test_the_runtime_of_a_platform_is_noted_in_both_spellings(tmp_path: Path) -> None:
    names = ("platform-runtime-path.crio.io", "io.kubernetes.cri-o.PlatformRuntimePath")
    forged = dict.fromkeys(names, "/forged")
    assert not set(names) & set(made(tmp_path, pod=forged))
    found = made(tmp_path, pod=forged, handler=HandlerFacts(name="crun", platform_path="/usr/bin/crun-wasm"))
    assert [found[name] for name in names] == ["/usr/bin/crun-wasm"] * 2
