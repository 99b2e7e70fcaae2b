from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from contract.cni_plugins import PLUGIN_DIRECTORY, Pod, bridge_name, pod, subnets
from contract.fake_cni import FakeCni
from crio.base import failpoints
from crio.base.errors import Code, FailedPrecondition, Internal, InvalidArgument, Unavailable
from crio.linux import namespaces
from crio.network.manager import Network, PodNetwork, PortMapping, TimeLimits
from crio.network.plugin import PluginFailed
from loop_clock import pass_seconds

A, B = {"type": "fake-a"}, {"type": "fake-b", "capabilities": {"portMappings": True}}


@pytest.fixture
def fake(tmp_path: Path) -> FakeCni:
    made = FakeCni(tmp_path / "cni")
    for name in ("fake-a", "fake-b"):
        made.program(name)
    made.network("10-net.conflist", "net", A, B)
    return made


@pytest.fixture(autouse=True)
def _no_failpoints() -> Iterator[None]:
    yield
    failpoints.configure("")


@asynccontextmanager
async def _network(tmp_path: Path, fake: FakeCni, **more: Any) -> AsyncIterator[Network]:
    made = Network(
        str(fake.config), [str(fake.bin)], str(tmp_path / "cache"), state_dir=str(tmp_path / "state"), **more
    )
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


def _pod(pod_id: str = "pod-1", netns: str = "/run/netns/none", **more: Any) -> PodNetwork:
    return PodNetwork(pod_id, "default", "web", "uid-1", netns, **more)


def _left(tmp_path: Path) -> list[str]:
    """What is recorded of attachments."""
    return sorted(
        name
        for directory in (tmp_path / "state", tmp_path / "cache" / "results")
        if directory.is_dir()
        for name in os.listdir(directory)
    )


async def test_add_runs_the_chain_and_delete_reverses_it(tmp_path: Path, fake: FakeCni) -> None:
    seen: list[tuple[str, str, bool]] = []

    def observe(verb: str, kind: str, seconds: float, succeeded: bool) -> None:
        assert 0 < seconds < 60
        seen.append((verb, kind, succeeded))

    async with _network(tmp_path, fake, observer=observe) as network:
        assert network.status().ready
        assert network.default_network() == "net"
        assert network.maps_ports()
        result = await network.add(_pod(port_mappings=(PortMapping("tcp", 80, 8080),)))
        assert (result.ips, result.network_name) == (("10.9.8.7",), "net")
        assert json.loads(result.raw)["ips"][0]["address"] == "10.9.8.7/24"
        assert _left(tmp_path) == ["net-pod-1-eth0", "pod-1.json"]
        await network.check(_pod())
        assert [pod.id for pod in network.attachments()] == ["pod-1"]
        await network.delete(network.attachments()[0])
        await network.delete(_pod())
    verbs = ["fake-a ADD", "fake-b ADD", "fake-a CHECK", "fake-b CHECK", "fake-b DEL", "fake-a DEL"]
    assert fake.calls() == verbs
    assert seen == [(verb, name, True) for name, verb in (call.split() for call in verbs)]
    assert _left(tmp_path) == []
    arguments = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=pod-1;"
    assert fake.lines()[0] == f"fake-a ADD pod-1 /run/netns/none eth0 {arguments}K8S_POD_UID=uid-1"
    # The namespace is not there, so DEL is not sent into it.
    assert fake.lines()[-1].split()[3] == "-"
    given = fake.stdin("fake-b", "ADD")
    assert (given["name"], given["cniVersion"], given["prevResult"]["ips"]) == (
        "net",
        "1.0.0",
        json.loads(result.raw)["ips"],
    )
    assert given["runtimeConfig"]["portMappings"][0]["hostPort"] == 8080
    assert "runtimeConfig" not in fake.stdin("fake-a", "ADD")
    assert "prevResult" not in fake.stdin("fake-a", "ADD")
    assert fake.stdin("fake-a", "DEL")["prevResult"] == json.loads(result.raw)


async def test_a_failed_add_is_undone_and_names_plug_in_verb_and_words(tmp_path: Path, fake: FakeCni) -> None:
    fake.fails("fake-b", "ADD", "no room", 11)
    async with _network(tmp_path, fake) as network:
        with pytest.raises(PluginFailed) as caught:
            await network.add(_pod())
        assert caught.value.message == (
            "cannot attach pod default/web: cannot run CNI plug-in fake-b ADD for network net: no room "
            "(on stderr: words on stderr)"
        )
        assert str(caught.value) == caught.value.message
        assert (caught.value.code, caught.value.temporary) == (Code.UNAVAILABLE, True)
        assert fake.calls() == ["fake-a ADD", "fake-b ADD", "fake-b DEL", "fake-a DEL"]
        assert _left(tmp_path) == []
        fake.fails("fake-b", "ADD", None)
        await network.add(_pod())


async def test_what_can_not_be_undone_stays_recorded_for_later(tmp_path: Path, fake: FakeCni) -> None:
    fake.fails("fake-b", "ADD", "no")
    fake.fails("fake-a", "DEL", "")
    async with _network(tmp_path, fake) as network:
        with pytest.raises(PluginFailed, match="fake-b ADD"):
            await network.add(_pod())
        assert _left(tmp_path) == ["pod-1.json"]
        with pytest.raises(FailedPrecondition, match="attached already"):
            await network.add(_pod())
        with pytest.raises(PluginFailed, match="fake-a DEL for network net: exit code 1: words on stderr"):
            await network.delete(_pod())
        fake.fails("fake-a", "DEL", None)
        await network.delete(_pod())
    assert _left(tmp_path) == []


async def test_a_failing_del_does_not_keep_the_others_from_theirs(tmp_path: Path, fake: FakeCni) -> None:
    async with _network(tmp_path, fake) as network:
        await network.add(_pod())
        fake.fails("fake-b", "DEL", "stuck")
        fake.forget()
        with pytest.raises(PluginFailed, match="stuck"):
            await network.delete(_pod())
        assert fake.calls() == ["fake-b DEL", "fake-a DEL"]
        assert _left(tmp_path) == ["net-pod-1-eth0", "pod-1.json"]


async def test_a_plug_in_that_hangs_is_ended(tmp_path: Path, fake: FakeCni, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.sleeps("fake-b", "ADD", 1000)
    async with _network(tmp_path, fake, limits=TimeLimits(add=60)) as network:
        adding = asyncio.create_task(network.add(_pod()))
        while "fake-b ADD" not in fake.calls():
            await asyncio.sleep(0.01)
        pass_seconds(monkeypatch, 61)
        with pytest.raises(PluginFailed, match=r"fake-b ADD .* did not end within [\d.]+ s and was killed"):
            await adding
    assert fake.calls()[-1] == "fake-a DEL"
    assert _left(tmp_path) == []


async def test_a_cancelled_add_is_undone(tmp_path: Path, fake: FakeCni) -> None:
    fake.sleeps("fake-b", "ADD", 1000)
    async with _network(tmp_path, fake) as network:
        task = asyncio.create_task(network.add(_pod()))
        while "fake-b ADD" not in fake.calls():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert fake.calls() == ["fake-a ADD", "fake-b ADD", "fake-b DEL", "fake-a DEL"]
    assert _left(tmp_path) == []


async def test_delete_uses_the_configuration_of_the_add(tmp_path: Path, fake: FakeCni) -> None:
    async with _network(tmp_path, fake) as network:
        await network.add(_pod())
    (fake.config / "10-net.conflist").unlink()
    fake.forget()
    async with _network(tmp_path, fake) as network:
        assert not network.status().ready
        await network.delete(_pod())
    assert fake.calls() == ["fake-b DEL", "fake-a DEL"]
    assert _left(tmp_path) == []


async def test_leftovers_of_an_earlier_boot_are_detached(tmp_path: Path, fake: FakeCni) -> None:
    async with _network(tmp_path, fake) as network:
        for name in ("dead", "alive"):
            await network.add(_pod(name))
    fake.forget()
    async with _network(tmp_path, fake) as network:
        await network.add(_pod("new"))
        assert await network.collect_garbage({"alive"}) == ["dead"]
        assert {pod.id for pod in network.attachments()} == {"alive", "new"}
        assert await network.collect_garbage({"alive"}) == []
    dels = [line.split()[:3] for line in fake.lines() if " DEL " in line]
    assert dels == [["fake-b", "DEL", "dead"], ["fake-a", "DEL", "dead"]]


async def test_a_leftover_that_can_not_be_detached_stays(tmp_path: Path, fake: FakeCni) -> None:
    async with _network(tmp_path, fake) as network:
        for name in ("one", "two"):
            await network.add(_pod(name))
    fake.fails("fake-a", "DEL", "no")
    async with _network(tmp_path, fake) as network:
        assert await network.collect_garbage(()) == []
        fake.fails("fake-a", "DEL", None)
        assert await network.collect_garbage(()) == ["one", "two"]
    assert _left(tmp_path) == []


async def test_a_record_damaged_by_a_power_cut_is_undone_with_the_present_network(
    tmp_path: Path, fake: FakeCni
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "pod-1.json").write_bytes(b"")
    async with _network(tmp_path, fake) as network:
        assert await network.collect_garbage(()) == ["pod-1"]
    assert fake.lines()[0].split()[:5] == ["fake-b", "DEL", "pod-1", "-", "eth0"]
    assert _left(tmp_path) == []


async def test_attachments_of_another_runtime_are_found_in_libcnis_cache(tmp_path: Path, fake: FakeCni) -> None:
    async with _network(tmp_path, fake) as network:
        await network.add(_pod("theirs"))
    (tmp_path / "state" / "theirs.json").unlink()
    theirs = tmp_path / "cache/results/net-theirs-eth0"
    elsewhere = json.loads(theirs.read_text()) | {"containerId": "elsewhere", "networkName": "not-ours"}
    (tmp_path / "cache/results/not-ours-elsewhere-eth0").write_text(json.dumps(elsewhere))
    foreign = json.loads((tmp_path / "cache/results/net-theirs-eth0").read_text())
    foreign |= {"containerId": "podmans", "cniArgs": [["IgnoreUnknown", "1"], ["K8S_POD_NAME", "x"]]}
    (tmp_path / "cache/results/net-podmans-eth0").write_text(json.dumps(foreign))
    async with _network(tmp_path, fake) as network:
        assert network.attachments() == []
        assert await network.collect_garbage(()) == ["theirs"]
        assert _left(tmp_path) == ["net-podmans-eth0", "not-ours-elsewhere-eth0"]
        await network.delete(_pod("podmans"))
        await network.delete(_pod("elsewhere"))
    assert _left(tmp_path) == []


async def test_a_result_that_cannot_be_read_keeps_no_pod(tmp_path: Path, fake: FakeCni) -> None:
    async with _network(tmp_path, fake) as network:
        await network.add(_pod())
        path = tmp_path / "cache/results/net-pod-1-eth0"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"result": {"cniVersion": "1.0.0", "ips": "none"}}))
        fake.forget()
        await network.delete(_pod())
        assert fake.calls() == ["fake-b DEL", "fake-a DEL"]
        assert "prevResult" not in fake.stdin("fake-a", "DEL")
    assert _left(tmp_path) == []


@pytest.mark.root
async def test_a_pod_of_another_runtime_that_may_be_alive_is_left_alone(tmp_path: Path, fake: FakeCni) -> None:
    with pod(str(tmp_path)) as made:
        async with _network(tmp_path, fake) as network:
            await network.add(_pod(made.id, made.netns))
        (tmp_path / "state" / f"{made.id}.json").unlink()
        async with _network(tmp_path, fake) as network:
            assert await network.collect_garbage(()) == []
        namespaces.unpin(made.netns)
        async with _network(tmp_path, fake) as network:
            assert await network.collect_garbage(()) == [made.id]


async def test_garbage_is_collected_by_plug_ins_of_version_1_1(tmp_path: Path, fake: FakeCni) -> None:
    fake.network("10-net.conflist", "net", A, version="1.1.0")
    async with _network(tmp_path, fake) as network:
        await network.add(_pod("alive"))
        await network.collect_garbage({"alive"})
        given = fake.stdin("fake-a", "GC")
        assert given["cni.dev/valid-attachments"] == [{"containerID": "alive", "ifname": "eth0"}]
        assert given["cni.dev/attachments"] == given["cni.dev/valid-attachments"]
        fake.forget()
        fake.network("10-net.conflist", "net", A, version="1.1.0", disableGC=True)
        await network.reload()
        await network.collect_garbage({"alive"})
        assert "fake-a GC" not in fake.calls()


async def test_records_that_were_half_written_are_removed_at_the_start(tmp_path: Path, fake: FakeCni) -> None:
    async with _network(tmp_path, fake) as network:
        await network.add(_pod())
    for directory, record in ((tmp_path / "state", "pod-1.json"), (tmp_path / "cache/results", "net-pod-1-eth0")):
        shutil.copy(directory / record, directory / f".tmp-{record}-0123abcd")
    async with _network(tmp_path, fake) as network:
        assert _left(tmp_path) == ["net-pod-1-eth0", "pod-1.json"]
        await network.delete(_pod())
    assert _left(tmp_path) == []


async def test_all_pods_are_checked(tmp_path: Path, fake: FakeCni) -> None:
    async with _network(tmp_path, fake) as network:
        assert await network.check_all() == []
        for number in range(3):
            await network.add(_pod(f"pod-{number}"))
        assert await network.check_all() == []
        fake.fails("fake-b", "CHECK", "address is gone")
        found = await network.check_all()
        assert [pod.id for pod, _ in found] == ["pod-0", "pod-1", "pod-2"]
        assert all("address is gone" in reason for _, reason in found)


async def test_check_may_be_off_or_unknown(tmp_path: Path, fake: FakeCni) -> None:
    async with _network(tmp_path, fake) as network:
        with pytest.raises(FailedPrecondition, match="not attached"):
            await network.check(_pod())
        await network.add(_pod())
        fake.fails("fake-b", "CHECK", "address is gone")
        with pytest.raises(PluginFailed, match=r"fake-b CHECK .*address is gone"):
            await network.check(_pod())
        await network.delete(_pod())
        for more in ({"disableCheck": True}, {"version": "0.3.1"}):
            fake.network("10-net.conflist", "net", A, B, **more)
            await network.reload()
            await network.add(_pod())
            await network.check(_pod())
            await network.delete(_pod())


async def test_old_versions_get_no_earlier_result_at_del(tmp_path: Path, fake: FakeCni) -> None:
    fake.network("10-net.conflist", "net", A, version="0.3.1")
    async with _network(tmp_path, fake) as network:
        await network.add(_pod())
        await network.delete(_pod())
    assert "prevResult" not in fake.stdin("fake-a", "DEL")


async def test_a_result_without_a_version_gets_the_networks(tmp_path: Path, fake: FakeCni) -> None:
    fake.program("fake-a", result='{"ips": [{"address": "10.1.1.1/8"}]}')
    fake.network("10-net.conflist", "net", A, B)
    async with _network(tmp_path, fake) as network:
        await network.add(_pod())
        assert fake.stdin("fake-b", "ADD")["prevResult"]["cniVersion"] == "1.0.0"


@pytest.mark.parametrize(
    "output",
    [
        "",
        "no json",
        '{"ips": 1}',
        '{"cniVersion": "7.0.0"}',
        '{"ips": [{"address": "10.1.1.300/8"}]}',
        '{"cniVersion": "0.2.0", "ip4": {"ip": "here"}}',
    ],
)
async def test_a_result_that_is_none_is_an_error(tmp_path: Path, fake: FakeCni, output: str) -> None:
    fake.program("fake-a", result=output)
    async with _network(tmp_path, fake) as network:
        with pytest.raises(PluginFailed, match=r"fake-a ADD .*result cannot be used"):
            await network.add(_pod())
    assert fake.calls()[-1] == "fake-a DEL"


async def test_without_a_network_pods_wait(tmp_path: Path, fake: FakeCni) -> None:
    (fake.config / "10-net.conflist").unlink()
    async with _network(tmp_path, fake) as network:
        status = network.status()
        assert (status.ready, status.reason) == (False, "NetworkPluginNotReady")
        assert "no CNI configuration file in" in status.message
        assert not network.maps_ports()
        with pytest.raises(Unavailable, match=r"cannot attach pod default/web: .*no CNI configuration file"):
            await network.add(_pod())
        await network.delete(_pod())
    assert _left(tmp_path) == []


async def test_places_that_cannot_be_watched_change_nothing(tmp_path: Path, fake: FakeCni) -> None:
    other = tmp_path / "other"
    other.mkdir()
    async with _network(tmp_path, fake) as network:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                network.reconfigure(str(other), [str(other)], "")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert network.plugin_dirs == (str(fake.bin),)
        await network.reload()
        assert network.default_network() == "net"
        network.reconfigure(str(other), [str(other)], "")
        await network.reload()
        assert network.default_network() == ""


@pytest.mark.parametrize("pod_id", ["", "a/b", "-a", "a b", "x" * 200])
async def test_an_id_that_is_none_is_refused(tmp_path: Path, fake: FakeCni, pod_id: str) -> None:
    async with _network(tmp_path, fake) as network:
        with pytest.raises(InvalidArgument):
            await network.add(_pod(pod_id))


async def test_an_annotation_out_of_bounds_leaves_nothing(tmp_path: Path, fake: FakeCni) -> None:
    async with _network(tmp_path, fake) as network:
        with pytest.raises(InvalidArgument, match="bandwidth"):
            await network.add(_pod(annotations={"kubernetes.io/egress-bandwidth": "much"}))
    assert _left(tmp_path) == []
    assert fake.calls() == []


@pytest.mark.parametrize(
    "point",
    [
        "network.add.after_record",
        "network.add.after_plugin.0",
        "network.add.after_plugin.1",
        "network.add.after_plugins",
    ],
)
async def test_a_failure_at_any_point_of_add_is_undone(tmp_path: Path, fake: FakeCni, point: str) -> None:
    async with _network(tmp_path, fake) as network:
        failpoints.configure(f"{point}=error")
        with pytest.raises(Internal):
            await network.add(_pod())
        assert _left(tmp_path) == []
        assert fake.calls()[-2:] == ["fake-b DEL", "fake-a DEL"]


_KILLED = """
import asyncio, sys
from crio.network.manager import Network, PodNetwork

async def main():
    config, plugins, cache, state, netns, verb = sys.argv[1:]
    network = Network(config, [plugins], cache, state_dir=state)
    await network.start()
    pod = PodNetwork("victim", "ns", "name", "uid", netns)
    await (network.add(pod) if verb == "add" else network.delete(pod))

asyncio.run(main())
"""


def _run_killed(config: Path, plugins: str, tmp_path: Path, netns: str, verb: str, point: str) -> int:
    arguments = [str(config), plugins, str(tmp_path / "cache"), str(tmp_path / "state"), netns, verb]
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path), "CRIO_FAILPOINTS": f"{point}=kill" if point else ""}
    return subprocess.run([sys.executable, "-c", _KILLED, *arguments], env=environment, check=False).returncode


_ADD_POINTS = [
    "network.add.after_record",
    "network.bridge.after_pair",
    "network.bridge.after_masquerade",
    "network.add.after_plugin.0",
    "network.add.after_plugins",
]
_DELETE_POINTS = ["network.bridge.after_delete_link", "network.delete.after_plugin.0", "network.delete.after_plugins"]


@pytest.fixture
def attached(tmp_path: Path) -> Iterator[tuple[Pod, FakeCni, Path]]:
    """A real network with the built-in bridge, and a pod."""
    four, six = subnets()
    fake, leases = FakeCni(tmp_path / "real"), tmp_path / "leases"
    ipam = {"type": "host-local", "dataDir": str(leases), "ranges": [[{"subnet": four}], [{"subnet": six}]]}
    with bridge_name() as name, pod(str(tmp_path)) as made:
        plugin = {"type": "bridge", "bridge": name, "isGateway": True, "ipMasq": True, "ipam": ipam}
        fake.network("1.conflist", name, plugin)
        yield made, fake, leases / name


def _traces(made: Pod, leases: Path, tmp_path: Path) -> list[str]:
    held = [name for name in os.listdir(leases) if name != "lock" and not name.startswith("last_")]
    interfaces = [link["ifname"] for link in json.loads(made.run("ip", "-j", "link")) if link["ifname"] != "lo"]
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    return held + interfaces + _left(tmp_path) + (["rules"] if "id: victim" in rules else [])


@pytest.mark.root
@pytest.mark.parametrize("point", _ADD_POINTS)
async def test_a_daemon_killed_in_add_is_cleaned_up_after(
    tmp_path: Path, attached: tuple[Pod, FakeCni, Path], point: str
) -> None:
    made, fake, leases = attached
    leases.mkdir(parents=True)
    ended = _run_killed(fake.config, PLUGIN_DIRECTORY, tmp_path, made.netns, "add", point)
    assert ended == -signal.SIGKILL
    network = Network(str(fake.config), [PLUGIN_DIRECTORY], str(tmp_path / "cache"), state_dir=str(tmp_path / "state"))
    await network.start()
    assert await network.collect_garbage(()) == ["victim"]
    await network.stop()
    assert _traces(made, leases, tmp_path) == []


@pytest.mark.root
@pytest.mark.parametrize("point", _DELETE_POINTS)
async def test_a_daemon_killed_in_delete_goes_on(
    tmp_path: Path, attached: tuple[Pod, FakeCni, Path], point: str
) -> None:
    made, fake, leases = attached
    assert _run_killed(fake.config, PLUGIN_DIRECTORY, tmp_path, made.netns, "add", "") == 0
    assert len(_traces(made, leases, tmp_path)) == 6
    assert _run_killed(fake.config, PLUGIN_DIRECTORY, tmp_path, made.netns, "delete", point) == -signal.SIGKILL
    assert _run_killed(fake.config, PLUGIN_DIRECTORY, tmp_path, made.netns, "delete", "") == 0
    assert _traces(made, leases, tmp_path) == []


@pytest.mark.root
@pytest.mark.parametrize("builtin", ["auto", "never"])
async def test_many_pods_at_once(tmp_path: Path, attached: tuple[Pod, FakeCni, Path], builtin: Any) -> None:
    _, fake, leases = attached
    network = Network(
        str(fake.config),
        [PLUGIN_DIRECTORY],
        str(tmp_path / "cache"),
        state_dir=str(tmp_path / "state"),
        builtin=builtin,
    )
    await network.start()
    held = [pod(str(tmp_path / "many")) for _ in range(8)]
    pods = [item.__enter__() for item in held]
    try:
        known = [_pod(made.id, made.netns) for made in pods]
        results = await asyncio.gather(*(network.add(item) for item in known))
        assert len({ip for result in results for ip in result.ips}) == 16
        await asyncio.gather(*(network.check(item) for item in known))
        await asyncio.gather(*(network.delete(item) for item in known), network.collect_garbage(()))
        assert [name for name in os.listdir(leases) if name != "lock" and not name.startswith("last_")] == []
        assert _left(tmp_path) == []
    finally:
        await network.stop()
        for item in held:
            item.__exit__(None, None, None)


async def test_one_pods_operations_wait_for_each_other(tmp_path: Path, fake: FakeCni) -> None:
    fake.sleeps("fake-b", "ADD", 0.3)
    async with _network(tmp_path, fake) as network:
        adding = asyncio.create_task(network.add(_pod()))
        while not fake.calls():
            await asyncio.sleep(0.01)
        await asyncio.gather(network.delete(_pod()), network.delete(_pod()))
        assert adding.done()
    assert fake.calls() == ["fake-a ADD", "fake-b ADD", "fake-b DEL", "fake-a DEL"]


async def test_garbage_collection_waits_for_pods_that_are_being_attached(tmp_path: Path, fake: FakeCni) -> None:
    fake.network("10-net.conflist", "net", A, version="1.1.0")
    fake.sleeps("fake-a", "ADD", 0.3)
    async with _network(tmp_path, fake) as network:
        adding = asyncio.create_task(network.add(_pod("busy")))
        while "fake-a ADD" not in fake.calls():
            await asyncio.sleep(0.01)
        await network.collect_garbage(())
        assert adding.done()
    assert fake.calls() == ["fake-a STATUS", "fake-a ADD", "fake-a GC"]
    assert fake.stdin("fake-a", "GC")["cni.dev/attachments"] == [{"containerID": "busy", "ifname": "eth0"}]
