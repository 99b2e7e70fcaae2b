"""kill -9 of the daemon: nothing is lost, and what was half made is undone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import Code, CrioError
from crio.conmon.launch import parent_of
from crio.linux.cgroup import detect
from crio.linux.mount import mount
from crio.linux.pidfd import process_alive
from crio.rpc.status import RpcError
from crio.sandbox.cgroups import unit_names
from node import PATIENCE, Node, until

pytestmark = pytest.mark.root


async def restart(node: Node) -> None:
    await node.close_client()
    await node.start()


async def test_containers_live_on_and_are_found_again(node: Node) -> None:
    pod_config = node.pod_config()
    pod = await node.run_pod(pod_config)
    loop = node.container_config(
        ["sh", "-c", "i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.05; done"], name="loop"
    )
    short = node.container_config(["sh", "-c", "while [ ! -e /end ]; do sleep 0.05; done; exit 9"], name="short")
    created = node.container_config(["sleep", "1000"], name="created")
    ids = [await node.create(pod, config, pod_config) for config in (loop, short, created)]
    await node.start_container(ids[0])
    await node.start_container(ids[1])
    before = await node.status(ids[0])
    address = (await node.pod_status(pod)).network.ip
    first = len(node.log_lines("pod", "loop"))
    pid = int((node.root / "state" / "containers" / ids[1] / "pid").read_text())
    node.kill()
    # One ends while there is no daemon, the other goes on.
    Path(f"/proc/{pid}/root/end").touch()
    await until("it has ended", lambda: not process_alive(pid, 0))
    await until("the other goes on", lambda: len(node.log_lines("pod", "loop")) > first + 3)
    await restart(node)

    assert [item.id for item in await node.pods()] == [pod]
    assert (await node.pod_status(pod)).network.ip == address
    assert await node.status(ids[0]) == before
    ended = await node.wait_exited(ids[1])
    assert ended.exit_code == 9
    assert ended.started_at < ended.finished_at
    assert (await node.status(ids[2])).state == pb.CONTAINER_CREATED
    await node.start_container(ids[2])
    assert (await node.exec(ids[0], "echo", "hello")).stdout == b"hello\n"
    ticks = [int(line.rsplit(" ", 1)[1]) for line in node.log_lines("pod", "loop")]
    assert ticks == list(range(len(ticks)))


async def test_a_dead_zygote_is_replaced_and_a_dead_monitor_is_noticed(node: Node) -> None:
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    first = await node.create(pod, node.container_config(["sleep", "1000"], name="first"), pod_config)
    await node.start_container(first)
    assert node.process is not None
    for child in node.children(b"conmon/__main__.py"):
        os.kill(child, signal.SIGKILL)
    second = await node.create(pod, node.container_config(["sleep", "1000"], name="second"), pod_config)
    await node.start_container(second)
    monitor = int((node.root / "state" / "containers" / first / "conmon.pid").read_text())
    os.kill(monitor, signal.SIGKILL)
    ended = await node.wait_exited(first)
    assert ended.exit_code == 255
    assert "monitor" in ended.message
    assert ended.finished_at >= ended.started_at
    assert (await node.status(second)).state == pb.CONTAINER_RUNNING


RUN_POINTS = [
    "sandbox.run.after_record",
    "sandbox.run.after_namespaces",
    "sandbox.run.after_network",
    "sandbox.run.before_complete",
]
CREATE_POINTS = ["container.create.after_record", "container.create.after_storage", "container.create.after_runtime"]
END_POINTS = [
    "sandbox.stop.after_network",
    "sandbox.stop.after_namespaces",
    "sandbox.remove.before_directory",
    "container.remove.after_storage",
]


@pytest.mark.parametrize("point", RUN_POINTS + CREATE_POINTS + END_POINTS)
@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_a_crash_at_any_point_leaves_nothing(node: Node, point: str) -> None:
    await node.stop()
    await node.start(failpoints=f"{point}=kill")
    pod_config = node.pod_config()
    with contextlib.suppress(Exception):
        pod = await node.run_pod(pod_config)
        container = await node.create(pod, node.container_config(["sleep", "1000"]), pod_config)
        await node.start_container(container)
        await node.remove_pod(pod)
    assert node.process is not None
    assert node.process.wait(timeout=60) == -signal.SIGKILL
    await restart(node)
    await node.remove_all_pods()
    assert await node.containers() == []
    assert os.listdir(node.root / "state" / "sandboxes") == []
    assert os.listdir(node.root / "state" / "containers") == []
    assert node.leases() == []
    assert all(os.listdir(node.root / "ns" / kind) == [] for kind in os.listdir(node.root / "ns"))


@pytest.mark.parametrize("point", ["before_runtime", "after_runtime"])
async def test_a_start_that_was_cut_off_is_known_to_be_done_or_not(node: Node, point: str) -> None:
    await node.stop()
    await node.start(failpoints=f"container.start.{point}=kill")
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, node.container_config(["sleep", "1000"]), pod_config)
    with pytest.raises(CrioError, match=r"closed|reset by peer"):
        await node.start_container(container)
    await restart(node)
    status = await node.status(container)
    if point == "before_runtime":
        assert status.state == pb.CONTAINER_CREATED
        await node.start_container(container)
    else:
        assert status.state == pb.CONTAINER_RUNNING
        assert status.started_at > status.created_at
    assert (await node.exec(container, "echo", "hello")).stdout == b"hello\n"


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_kill_at_random_moments_of_a_busy_node(node: Node) -> None:
    random.seed(36)
    made: dict[str, int] = {}

    async def client(number: int) -> None:
        while True:
            name = f"pod-{number}-{random.randrange(1000)}"
            pod_config = node.pod_config(name)
            pod = await node.run_pod(pod_config)
            container = await node.create(pod, node.container_config(["sh", "-c", "sleep 0.05; exit 4"]), pod_config)
            await node.start_container(container)
            made[container] = 4
            status = await node.wait_exited(container)
            assert status.exit_code == made.pop(container)
            await node.remove_pod(pod)

    for _ in range(10):
        clients = [asyncio.create_task(client(number)) for number in range(5)]
        await asyncio.sleep(random.uniform(0.2, 1.5))
        node.kill()
        for task in clients:
            task.cancel()
        results = await asyncio.gather(*clients, return_exceptions=True)
        assert not [result for result in results if isinstance(result, AssertionError)]
        await restart(node)
        # A container that was started must be there, with the right code, whatever moment it was.
        for container, code in made.items():
            assert (await node.wait_exited(container)).exit_code == code
        made.clear()
        await node.remove_all_pods()
    assert os.listdir(node.root / "state" / "sandboxes") == []
    assert os.listdir(node.root / "state" / "containers") == []


def groups_of(*ids: str) -> list[str]:
    return detect().find({name for each in ids for name in unit_names(each)})


@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_without_their_records_pod_and_container_end_with_their_groups(node: Node) -> None:
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, node.container_config(["sleep", "1000"]), pod_config)
    await node.start_container(container)
    assert len(groups_of(pod, container)) >= 2
    node.kill()
    (node.root / "state" / "sandboxes" / pod / "sandbox.json").write_bytes(b"")
    (node.root / "state" / "containers" / container / "container.json").unlink()
    # As if the runtime had been killed before it wrote down what it has started.
    shutil.rmtree(node.root / "run-crun")
    await restart(node)
    assert await node.pods() == []
    assert await node.containers() == []
    assert groups_of(pod, container) == []


@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_after_a_reboot_leases_and_layers_are_released(node: Node) -> None:
    pod_config = node.pod_config()
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, node.container_config(["sleep", "1000"]), pod_config)
    await node.start_container(container)
    node.kill()
    node.pretend_reboot()
    await restart(node)
    assert groups_of(pod, container) == []
    assert await node.pods() == []
    assert await node.containers() == []
    assert node.leases() == []
    images = await node.call("ListImages", pb.ListImagesRequest(), pb.ListImagesResponse)
    assert len(images.images) == 1


def held_back(path: Path, program: str, when: str, *, done: bool = False) -> tuple[Path, Path]:
    """A stand-in for `program` that, in some calls, tells its pid in the first file and waits for the second.

    With `done` it has done its work by then.
    """
    begun, go = path.with_suffix(".begun"), path.with_suffix(".go")
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"""#!/bin/sh
if {when}; then
    {f'{program} "$@" && set -- --version' if done else ":"}
    echo $$ > {begun}
    while [ ! -e {go} ]; do sleep 0.05; done
fi
exec {program} "$@"
""")
    path.chmod(0o755)
    return begun, go


async def kill_and_restart(node: Node, begun: Path, go: Path) -> None:
    """What is held back goes on once the next daemon waits for it, or is up without having waited."""
    await until("it is held back", lambda: begun.exists() and begun.read_text())
    node.kill()
    restarting = asyncio.create_task(restart(node))
    waits = "waiting for a call of the daemon before"
    await until(waits, lambda: restarting.done() or waits in node.log_tail())
    go.touch()
    await restarting
    await until("it has ended", lambda: not process_alive(int(begun.read_text()), 0))


async def start_with_held_back(node: Node, verb: str, *, done: bool = False) -> tuple[Path, Path]:
    """Start the node's daemon with a runtime that waits when it is asked for `verb`; see `held_back`."""
    await node.stop()
    when = f'case " $* " in *" {verb} "*) ;; *) false ;; esac'
    files = held_back(node.root / "bin" / "crun", "/usr/bin/crun", when, done=done)
    (node.root / "conf.d" / "10-held.conf").write_text(
        f'[crio.runtime.runtimes.crun]\nruntime_path = "{node.root}/bin/crun"\nruntime_root = "{node.root}/run-crun"\n'
    )
    await node.start()
    return files


@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_a_start_that_outlives_its_daemon_is_waited_for(node: Node) -> None:
    begun, go = await start_with_held_back(node, "start")
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, node.container_config(["sleep", "1000"]), pod_config)
    starting = asyncio.create_task(node.start_container(container))
    await kill_and_restart(node, begun, go)
    with pytest.raises(CrioError):
        await starting
    assert (await node.status(container)).state == pb.CONTAINER_RUNNING
    assert (await node.exec(container, "echo", "here")).stdout == b"here\n"


ADDRESS = """#!/bin/sh
[ "$CNI_COMMAND" != ADD ] || echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.9.9.9/24"}]}' | tee "$0.taken"
[ "$CNI_COMMAND" != DEL ] || rm -f "$0.taken"
[ "$CNI_COMMAND" != VERSION ] || echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}'
"""


@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_a_plugin_that_outlives_its_daemon_leaves_nothing(node: Node) -> None:
    await node.stop()
    plugins = node.root / "bin"
    address = node.root / "address"
    address.write_text(ADDRESS)
    address.chmod(0o755)
    begun, go = held_back(plugins / "held", str(address), '[ "$CNI_COMMAND" = ADD ]')
    network = {"cniVersion": "1.0.0", "name": "held", "plugins": [{"type": "held"}]}
    (node.root / "net.d" / "10-test.conflist").write_text(json.dumps(network))
    (node.root / "conf.d" / "10-held.conf").write_text(f'[crio.network]\nplugin_dirs = ["{plugins}"]\n')
    await node.start()
    running = asyncio.create_task(node.run_pod(node.pod_config()))
    await kill_and_restart(node, begun, go)
    with pytest.raises(CrioError):
        await running
    assert await node.pods() == []
    assert not (node.root / "address.taken").exists()
    assert os.listdir(node.root / "lib" / "network") == []


@pytest.mark.slow
@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_what_is_left_of_a_failed_create_is_removed_later(node: Node) -> None:
    await node.stop()
    await node.start(failpoints="container.create.after_runtime=error*1;container.remove.after_storage=error*1")
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    with pytest.raises(CrioError, match=r"container\.create\.after_runtime"):
        await node.create(pod, node.container_config(["sleep", "1000"]), pod_config)
    left = node.root / "state" / "containers"
    assert len(os.listdir(left)) == 1
    assert await node.containers() == []
    await until("it is removed", lambda: os.listdir(left) == [])


@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_an_exit_code_that_was_half_written_goes_with_its_container(node: Node) -> None:
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, node.container_config(["sleep", "1000"]), pod_config)
    exits = node.root / "state" / "exits"
    (exits / f".{container}.tmp").touch()
    await node.remove_container(container)
    assert os.listdir(exits) == []


@pytest.mark.slow
@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_a_monitor_that_hangs_does_not_keep_the_daemon_down(node: Node) -> None:
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    script = "while [ ! -e /end ]; do sleep 0.05; done; exit 7"
    container = await node.create(pod, node.container_config(["sh", "-c", script]), pod_config)
    await node.start_container(container)
    bundle = node.root / "state" / "containers" / container
    monitor, pid = (int((bundle / name).read_text()) for name in ("conmon.pid", "pid"))
    os.kill(monitor, signal.SIGSTOP)
    try:
        Path(f"/proc/{pid}/root/end").touch()
        await until("it has ended", lambda: not process_alive(pid, 0))
        node.kill()
        await restart(node)
        assert (await node.status(container)).state == pb.CONTAINER_RUNNING
    finally:
        os.kill(monitor, signal.SIGCONT)
    assert (await node.wait_exited(container)).exit_code == 7


async def test_a_command_that_nobody_waits_for_any_more_is_ended(node: Node) -> None:
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, node.container_config(["sleep", "1000"]), pod_config)
    await node.start_container(container)
    script = "sleep 2000 & echo up > /up; wait"
    asked = asyncio.create_task(node.exec(container, "sh", "-c", script, timeout=0))
    while (await node.exec(container, "cat", "/up")).stdout != b"up\n":
        await asyncio.sleep(0.02)
    node.kill()
    await restart(node)
    with pytest.raises(CrioError):
        await asked
    bundle = node.root / "state" / "containers" / container
    first = int((bundle / "pid").read_text())
    group = detect().group_of(first)
    assert group is not None
    await until("the command is gone", lambda: detect().processes(group) == [first])
    await until("its files are gone", lambda: not list(bundle.glob("exec-*")))
    assert (await node.status(container)).state == pb.CONTAINER_RUNNING


@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_who_starts_what_was_stopped_does_not_join_the_start_that_was_overtaken(node: Node) -> None:
    begun, go = await start_with_held_back(node, "start")
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, node.container_config(["sleep", "1000"]), pod_config)
    starting = asyncio.create_task(node.start_container(container))
    await until("it is held back", begun.exists)
    await node.stop_container(container)
    with pytest.raises(RpcError, match="it is EXITED") as refused:
        await node.start_container(container)
    assert refused.value.code is Code.FAILED_PRECONDITION
    go.touch()
    with pytest.raises(RpcError):
        await starting
    status = await node.status(container)
    assert (status.state, status.exit_code) == (pb.CONTAINER_EXITED, 137)


@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_a_monitor_that_dies_in_a_create_is_replaced_and_what_it_ran_is_ended(node: Node) -> None:
    begun, go = await start_with_held_back(node, "create")
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    creating = asyncio.create_task(node.create(pod, node.container_config(["sleep", "1000"]), pod_config))
    await until("it is held back", lambda: begun.exists() and begun.read_text())
    first = int(begun.read_text())
    os.kill(parent_of(parent_of(first)), signal.SIGKILL)
    await until("there is another", lambda: begun.read_text().strip() not in ("", str(first)))
    await until("the first is gone", lambda: not process_alive(first, 0))
    go.touch()
    container = await creating
    await node.start_container(container)
    assert (await node.exec(container, "echo", "hello")).stdout == b"hello\n"
    await node.remove_pod(pod)
    assert groups_of(pod, container) == []
    assert os.listdir(node.root / "run-crun") == []


@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_a_life_shorter_than_its_start_is_told_in_order(node: Node) -> None:
    begun, go = await start_with_held_back(node, "start", done=True)
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, node.container_config(["true"]), pod_config)
    starting = asyncio.create_task(node.start_container(container))
    await until("it is held back", begun.exists)
    await node.wait_exited(container)
    go.touch()
    await starting
    await node.remove_container(container)
    told = []
    path = "/runtime.v1.RuntimeService/GetContainerEvents"
    async for event in node.client.stream(path, pb.GetEventsRequest(), pb.ContainerEventResponse, 60.0):
        if event.container_id == container:
            told.append(event.container_event_type)
        if told[-1:] == [pb.CONTAINER_DELETED_EVENT]:
            break
    assert told == [
        pb.CONTAINER_CREATED_EVENT,
        pb.CONTAINER_STARTED_EVENT,
        pb.CONTAINER_STOPPED_EVENT,
        pb.CONTAINER_DELETED_EVENT,
    ]


@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_whoever_waits_for_a_stop_has_a_deadline_of_its_own(node: Node) -> None:
    begun, go = await start_with_held_back(node, "kill")
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, node.container_config(["sleep", "1000"]), pod_config)
    await node.start_container(container)
    request = pb.StopPodSandboxRequest(pod_sandbox_id=pod)
    hasty = asyncio.create_task(node.call("StopPodSandbox", request, pb.StopPodSandboxResponse, timeout=1.0))
    await until("it is held back", begun.exists)
    patient = asyncio.create_task(node.stop_pod(pod))
    with pytest.raises(RpcError) as late:
        await hasty
    assert late.value.code is Code.DEADLINE_EXCEEDED
    go.touch()
    await patient
    assert (await node.pod_status(pod)).state == pb.SANDBOX_NOTREADY


def fill(directory: Path) -> Path:
    """Leave no room in a file system. The file that takes it."""
    ballast = directory / "ballast"
    with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return ballast


@pytest.mark.parametrize("node", ["crun"], indirect=True)
@pytest.mark.parametrize("full", ["state", "storage"])
async def test_a_full_disk_loses_nothing_and_keeps_nobody_from_removing(node: Node, layout: str, full: str) -> None:
    await node.stop()
    place = node.root / full
    shutil.rmtree(place)
    place.mkdir()
    mount("tmpfs", str(place), "tmpfs", data="size=24m")
    await node.start()
    await node.load(layout)
    pod_config = node.pod_config()
    pod = await node.run_pod(pod_config)
    # Also how it ends is known, though nobody is there to be told.
    config = node.container_config(["sh", "-c", "while [ ! -e /proc/1/root/dev/shm/end ]; do sleep 0.05; done; exit 9"])
    container = await node.create(pod, config, pod_config)
    await node.start_container(container)
    other = await node.create(pod, node.container_config(["sleep", "1000"], name="other"), pod_config)
    pid = int((node.root / "state" / "containers" / container / "pid").read_text())
    end = Path(f"/proc/{pid}/root/dev/shm/end")
    ballast = fill(place)
    if full == "state":
        with pytest.raises(RpcError, match="No space left on device; make room"):
            await node.start_container(other)
    node.kill()
    end.touch()
    await until("it has ended", lambda: not process_alive(pid, 0))
    await node.start()
    assert (await node.wait_exited(container)).exit_code == 9
    await node.remove_container(container)
    await node.stop_pod(pod)
    # Nor does the next daemon take it for ready, of which perhaps nobody could note that it is not.
    node.kill()
    await node.start()
    async with asyncio.timeout(PATIENCE):
        while (await node.pod_status(pod)).state != pb.SANDBOX_NOTREADY:
            await asyncio.sleep(0.02)
    await node.remove_pod(pod)
    (image,) = (await node.call("ListImages", pb.ListImagesRequest(), pb.ListImagesResponse)).images
    request = pb.RemoveImageRequest(image=pb.ImageSpec(image=image.id))
    await node.call("RemoveImage", request, pb.RemoveImageResponse)
    ballast.unlink()
    assert await node.containers() == []
    assert groups_of(pod, container, other) == []
    await node.load(layout)
    await node.remove_pod(await node.run_pod(pod_config))


@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_a_start_that_was_cut_off_is_known_to_be_done_on_a_full_disk(node: Node) -> None:
    await node.stop()
    place = node.root / "state"
    shutil.rmtree(place)
    place.mkdir()
    mount("tmpfs", str(place), "tmpfs", data="size=24m")
    await node.start(failpoints="container.start.after_runtime=kill")
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    container = await node.create(pod, node.container_config(["sleep", "1000"]), pod_config)
    with pytest.raises(CrioError, match=r"closed|reset by peer"):
        await node.start_container(container)
    ballast = fill(place)
    await restart(node)
    assert (await node.status(container)).state == pb.CONTAINER_RUNNING
    ballast.unlink()
    assert (await node.exec(container, "echo", "hello")).stdout == b"hello\n"
    await node.remove_pod(pod)
