"""Figures of containers whose processes are sleeps in groups of this machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.conmon.exitrecord import ExitRecord
from crio.stats import cadence
from crio.stats import layers as layers_module
from crio.stats import reader as reader_module
from stats_bed import Bed

pytestmark = pytest.mark.root


@pytest.fixture
async def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bed]:
    monkeypatch.setattr(layers_module, "_PATIENCE", 60.0)
    bed = Bed(tmp_path)
    yield bed
    await bed.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


async def test_figures_are_told_again_while_they_are_young(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "MAX_AGE", 3600.0)
    bed.pod()
    container = bed.container(0xC1)
    before = time.time_ns()
    first = (await bed.containers())[container.id]
    assert before <= first.cpu.timestamp == first.memory.timestamp <= time.time_ns()
    assert first.memory.usage_bytes.value > 0
    assert first.writable_layer.used_bytes.value == 4096
    assert (await bed.containers())[container.id] == first
    # One that is new has figures at once, and the others are told again.
    new = bed.container(0xC2)
    both = await bed.containers()
    assert both[container.id] == first
    assert both[new.id].cpu.timestamp > first.cpu.timestamp
    assert both[new.id].cpu.HasField("usage_core_nano_seconds")
    # Who asks for one container has it read for him.
    assert (await bed.reader.container(container)).cpu.timestamp > both[new.id].cpu.timestamp


async def test_use_grows_from_list_to_list(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "MAX_AGE", 0.01)
    bed.pod()
    container = bed.container(0xC1, command=("sh", "-c", "while :; do :; done"))
    last = (await bed.containers())[container.id]
    async with asyncio.timeout(60):
        while last.cpu.usage_nano_cores.value == 0:
            await asyncio.sleep(0.15)
            now = (await bed.containers())[container.id]
            assert now.cpu.timestamp > last.cpu.timestamp
            assert now.cpu.usage_core_nano_seconds.value >= last.cpu.usage_core_nano_seconds.value
            last = now
    assert last.cpu.usage_core_nano_seconds.value > 0


async def test_what_has_ended_is_gone_at_once(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = bed.pod()
    first, second = bed.container(0xC1), bed.container(0xC2)
    assert set(await bed.containers()) == {first.id, second.id}
    assert len((await bed.sandboxes())[sandbox.id].linux.containers) == 2
    second.exit = ExitRecord(exit_code=0, finished_at_ns=1)
    assert set(await bed.containers()) == {first.id}
    (left,) = (await bed.sandboxes())[sandbox.id].linux.containers
    assert left.attributes.id == first.id
    # Also when it ends between the question and the answer.
    monkeypatch.setattr(reader_module, "MAX_AGE", 0.0)
    monkeypatch.setattr(reader_module, "_SLICE", -1.0)
    answer = asyncio.create_task(bed.reader.containers([first, second]))
    await asyncio.sleep(0)
    first.exit = ExitRecord(exit_code=0, finished_at_ns=1)
    assert await answer == []
    assert (await bed.reader.container(first)).attributes.id == first.id
    sandbox.record.stopped_at = 1
    assert await bed.sandboxes() == {}


async def test_a_pod_holds_its_own_figures_and_its_containers(bed: Bed) -> None:
    sandbox = bed.pod(namespaces={"net": "/proc/self/ns/net"})
    container = bed.container(0xC1)
    before = time.time_ns()
    pod = (await bed.sandboxes())[sandbox.id]
    assert [each.attributes.id for each in pod.linux.containers] == [container.id]
    assert pod.linux.process.process_count.value == 1
    assert before <= pod.linux.cpu.timestamp <= pod.linux.network.timestamp <= time.time_ns()
    assert pod.linux.memory.usage_bytes.value >= pod.linux.containers[0].memory.usage_bytes.value > 0
    alone = await bed.reader.sandbox(sandbox)
    assert alone.linux.cpu.timestamp > pod.linux.cpu.timestamp
    assert alone.linux.containers[0].cpu.timestamp > pod.linux.containers[0].cpu.timestamp


async def test_a_pod_without_a_group_is_the_sum_of_its_containers(bed: Bed) -> None:
    sandbox = bed.pod()
    sandbox.config.linux.cgroup_parent = ""
    bed.container(0xC1)
    bed.container(0xC2)
    pod = (await bed.sandboxes())[sandbox.id]
    assert pod.linux.process.process_count.value == 2
    assert pod.linux.memory.usage_bytes.value > 0
    assert not pod.linux.HasField("io")


async def test_figures_are_read_before_a_look_that_is_expected(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cadence, "USUAL", 2.0)
    bed.pod()
    container = bed.container(0xC1)
    asked = (await bed.containers())[container.id]
    told = bed.reader._told[container.id]
    await until(lambda: pb.ContainerStats.FromString(told.used).cpu.timestamp > asked.cpu.timestamp)


async def test_who_asks_steadily_is_told_older_ones(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "MAX_AGE", 0.0)
    monkeypatch.setattr(reader_module, "STEADY_AGE", 3600.0)
    bed.pod()
    container = bed.container(0xC1)
    looks = [(5e9, 0.0), (5e9, 0.0), (5e9, 1e6)]
    monkeypatch.setattr(bed.reader._cadences["containers"], "looked", lambda now: looks.pop(0))
    first, second, third = [(await bed.containers())[container.id].cpu.timestamp for _ in range(3)]
    assert first < second == third


async def test_the_period_of_collection_is_how_long_figures_are_told(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "MAX_AGE", 0.0)
    bed.pod()
    container = bed.container(0xC1)
    first = (await bed.containers())[container.id]
    assert (await bed.containers())[container.id].cpu.timestamp > first.cpu.timestamp
    bed.period = 3600
    kept = (await bed.containers())[container.id]
    assert (await bed.containers())[container.id] == kept


async def test_others_work_while_many_are_read(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "_SLICE", -1.0)
    bed.pod()
    for number in range(0xC0, 0xC5):
        bed.container(number)
    await bed.containers()
    monkeypatch.setattr(reader_module, "MAX_AGE", 0.0)
    turns, answer = 0, asyncio.create_task(bed.containers())
    while not answer.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 5


async def test_what_nobody_asks_for_is_forgotten(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "_FORGET_AFTER", 0.05)
    bed.pod()
    bed.container(0xC1)
    await bed.sandboxes()
    assert len(bed.reader._groups) == 2
    await until(lambda: len(bed.reader._groups) == 0 and not bed.reader._told and bed.reader._sweep is None)
    assert len(await bed.sandboxes()) == 1
