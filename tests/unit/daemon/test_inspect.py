"""The inspect endpoints, on pods and containers that were put in by hand."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from crio.conmon.exitrecord import ExitRecord
from crio.container import record as container_record
from crio.daemon.described import Described
from crio.daemon.inspect import Inspect, dump_heap
from crio.sandbox import record as sandbox_record
from crio.wire.http1 import Headers, Request, Response
from small_node import SmallNode, make_container, make_sandbox


@pytest.fixture
def small(tmp_path: Path) -> SmallNode:
    small = SmallNode(tmp_path)
    small.add_sandbox(make_sandbox(1, labels={"app": "web"}, ips=["10.0.0.2"]))
    small.add_container(
        make_container(0xC1, 1, labels={"a": "b"}, pid=77, started_at=5, rootfs="/r", image_name="busybox:latest")
    )
    small.add_container(make_container(0xC2, 1, pid=78, started_at=5, ended=ExitRecord(0, finished_at_ns=9)))
    return small


async def get(small: SmallNode, target: str, method: str = "GET") -> Response:
    described = Described(small.node, str(small.root), "/pod-root")
    return await Inspect(small.node, described).handle(Request(method, target, Headers()))


async def document(small: SmallNode, target: str) -> dict[str, Any]:
    response = await get(small, target)
    assert (response.status, response.content_type) == (200, "application/json")
    found = json.loads(response.body)
    assert isinstance(found, dict)
    return found


async def test_info(small: SmallNode) -> None:
    found = await document(small, "/info")
    assert found["storage_root"] == small.config.crio.root
    assert found["cgroup_driver"] == small.config.runtime.cgroup_manager
    assert found["default_id_mappings"] == {"uids": [], "gids": []}


async def test_config_is_text(small: SmallNode) -> None:
    response = await get(small, "/config")
    assert (response.status, response.body) == (200, b"[crio]\n")
    assert response.content_type.startswith("text/plain")


async def test_a_container(small: SmallNode) -> None:
    found = await document(small, "/containers/" + "c1" * 32)
    assert (found["name"], found["pid"], found["image"], found["root"]) == (
        f"k8s_c{0xC1}_pod1",
        77,
        "busybox:latest",
        "/r",
    )
    assert (found["labels"], found["sandbox"]) == ({"a": "b"}, "01" * 32)
    assert (found["ip_addresses"], found["host_network"]) == (["10.0.0.2"], False)
    assert found["crio_annotations"] == {"io.kubernetes.cri-o.ContainerType": "container"}


async def test_an_ended_container_has_no_process(small: SmallNode) -> None:
    assert (await document(small, "/containers/" + "c2" * 32))["pid"] == 0


async def test_a_pod_is_a_container_too_and_tells_a_process_in_its_namespaces(small: SmallNode) -> None:
    found = await document(small, "/containers/" + "01" * 32)
    assert (found["name"], found["pid"], found["sandbox"]) == ("k8s_pod1_default_u1_0", 77, "01" * 32)
    assert found["crio_annotations"] == {"io.kubernetes.cri-o.ContainerType": "sandbox"}
    assert (found["log_path"], found["ip_addresses"]) == ("/logs/pod1", ["10.0.0.2"])


async def test_a_pods_pause_process_comes_first(small: SmallNode) -> None:
    small.add_sandbox(make_sandbox(2, pause_pid=99))
    assert (await document(small, "/containers/" + "02" * 32))["pid"] == 99


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/containers/" + "ff" * 32, 404),
        ("/containers/", 404),
        ("/containers/a/b", 404),
        ("/pause/" + "c2" * 32, 409),
        ("/unpause/" + "c2" * 32, 409),
        ("/pause/" + "ff" * 32, 404),
        ("/", 404),
        ("/nothing", 404),
    ],
)
async def test_errors_have_their_status(small: SmallNode, target: str, status: int) -> None:
    response = await get(small, target)
    assert response.status == status
    assert response.body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_nothing_can_be_written(small: SmallNode, method: str) -> None:
    assert (await get(small, "/info", method)).status == 405


async def test_where_the_daemon_is(small: SmallNode) -> None:
    release = asyncio.Event()

    async def waits_for_the_test() -> None:
        await release.wait()

    task = asyncio.create_task(waits_for_the_test(), name="named task")
    await asyncio.sleep(0)
    text = (await get(small, "/debug/goroutines")).body.decode()
    release.set()
    await task
    assert "task named task" in text
    assert "await release.wait()" in text
    assert "thread " in text


def test_what_is_in_memory() -> None:
    counts = [int(line.split()[0]) for line in dump_heap().splitlines()]
    assert counts == sorted(counts, reverse=True)
    assert "builtins.dict" in dump_heap()


async def test_what_is_being_made_is_found_by_its_record(small: SmallNode) -> None:
    """cAdvisor asks when it sees the control group, before the creation is over, and never again."""
    made = make_container(0xC9, 1, labels={"io.kubernetes.container.name": "late"})
    directory = small.root / "containers" / made.id
    directory.mkdir()
    container_record.save(str(directory), made.record)
    found = await document(small, f"/containers/{made.id}")
    assert (found["pid"], found["labels"]) == (0, {"io.kubernetes.container.name": "late"})

    sandbox = make_sandbox(9)
    directory = small.root / "sandboxes" / sandbox.id
    directory.mkdir()
    sandbox_record.save(str(directory), sandbox.record)
    found = await document(small, f"/containers/{sandbox.id}")
    assert (found["pid"], found["root"]) == (0, "/pod-root")
    assert found["labels"]["io.kubernetes.container.name"] == "POD"
