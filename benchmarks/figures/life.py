"""The life of a pod with one container, call by call, with the host's network and with one of its own."""

from __future__ import annotations

import time
from collections.abc import Awaitable

from benchmarks.bench import RUNTIMES, Bench, timed, timing
from benchmarks.peers.bare import BareNetwork, BareRuntime
from benchmarks.peers.cri import CriPeer
from benchmarks.results import Table

_START = "pod start (run + create + start)"
_STOP = "pod end (stop + remove)"
_CHAIN = "CNI plug-ins, ADD"
_HAND = "by hand"
_WARM_UP = 2


async def measure(bench: Bench) -> None:
    async with bench.daemons() as (project, containerd):
        for runtime in RUNTIMES:
            template = await bench.container_config(project, runtime)
            bare, network = BareRuntime(bench.scratch, runtime, template), BareNetwork(bench.scratch)
            contestants = (project.name, containerd.name, _HAND)
            host = bench.results.table(f"Life of a pod, host network, {runtime}", contestants)
            cni = bench.results.table(f"Life of a pod, CNI network, {runtime}", contestants)
            discarded = Table("", ())
            for number in bench.rounds(20 + _WARM_UP, 5 + _WARM_UP):
                bench.say(f"life of a pod with {runtime}, round {number + 1}")
                warm = number >= _WARM_UP
                for peer in (project, containerd):
                    await _pod(peer, runtime, host if warm else discarded, host_network=True)
                    await _pod(peer, runtime, cni if warm else discarded, host_network=False)
                _by_hand(bare, host if warm else discarded)
                _chain_by_hand(network, cni if warm else discarded)
            _goals(host, cni)


async def _pod(peer: CriPeer, runtime: str, table: Table, *, host_network: bool) -> None:
    config = peer.pod_config(host_network=host_network)

    async def one(name: str, work: Awaitable[object]) -> None:
        await timed(table.figure(name, "ms"), peer.name, work)

    # The order of the rows.
    table.figure(_START, "ms")
    begin = time.perf_counter()
    pod = await peer.run_pod(config, runtime)
    run = time.perf_counter()
    container = await peer.create(pod, peer.container_config(config), config)
    created = time.perf_counter()
    await peer.start_container(container)
    started = time.perf_counter()
    table.figure("RunPodSandbox", "ms").add(peer.name, 1e3 * (run - begin))
    table.figure("CreateContainer", "ms").add(peer.name, 1e3 * (created - run))
    table.figure("StartContainer", "ms").add(peer.name, 1e3 * (started - created))
    table.figure(_START, "ms").add(peer.name, 1e3 * (started - begin))
    await one("ExecSync true", peer.exec(container, "/bin/true"))
    begin = time.perf_counter()
    await one("StopContainer", peer.stop_container(container))
    await one("RemoveContainer", peer.remove_container(container))
    await one("StopPodSandbox", peer.stop_pod(pod))
    await one("RemovePodSandbox", peer.remove_pod(pod))
    table.figure(_STOP, "ms").add(peer.name, 1e3 * (time.perf_counter() - begin))


def _by_hand(bare: BareRuntime, table: Table) -> None:
    """create and start for the pod's start; kill and delete for its end."""
    container = bare.bundle()
    try:
        with timing(table.figure(_START, "ms"), _HAND):
            with timing(table.figure("CreateContainer", "ms"), _HAND):
                bare.create(container)
            with timing(table.figure("StartContainer", "ms"), _HAND):
                bare.start(container)
        with timing(table.figure("ExecSync true", "ms"), _HAND):
            bare.exec(container)
        with timing(table.figure(_STOP, "ms"), _HAND):
            with timing(table.figure("StopContainer", "ms"), _HAND):
                bare.kill(container)
            with timing(table.figure("RemoveContainer", "ms"), _HAND):
                bare.delete(container)
    except BaseException:
        bare.clean_up(container)
        raise


def _chain_by_hand(network: BareNetwork, table: Table) -> None:
    namespace = network.namespace()
    try:
        with timing(table.figure("RunPodSandbox", "ms"), _HAND):
            result = network.add(namespace)
        with timing(table.figure("StopPodSandbox", "ms"), _HAND):
            network.delete(namespace, result)
    finally:
        network.remove(namespace)


def _goals(host: Table, cni: Table) -> None:
    by_hand = host.figures[_START].median(_HAND)
    chain = cni.figures["RunPodSandbox"].median(_HAND)
    execute = host.figures["ExecSync true"].median(_HAND)
    if by_hand is None or chain is None or execute is None:
        return
    limit = 1.3 * by_hand
    host.goal(_START, f"{limit:.1f} ms: 1.3 x create + start by hand", limit)
    cni.goal(_START, f"{limit + chain + 10:.1f} ms: the above + plug-ins by hand + 10 ms", limit + chain + 10)
    for table in (host, cni):
        table.goal("ExecSync true", f"{1.5 * execute:.1f} ms: 1.5 x exec by hand", 1.5 * execute)
    cni.notes.append(f"by hand: RunPodSandbox and StopPodSandbox are the plug-in chain's ADD and DEL ({_CHAIN})")
