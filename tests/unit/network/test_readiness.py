from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from contract.fake_cni import FakeCni
from crio.network.manager import Network
from crio.network.readiness import Readiness
from loop_clock import pass_seconds

A = {"type": "fake-a"}


@pytest.fixture
def fake(tmp_path: Path) -> FakeCni:
    made = FakeCni(tmp_path / "cni")
    made.program("fake-a")
    return made


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


async def _until(network: Network, ready: bool, words: str = "") -> None:
    async with asyncio.timeout(60):
        while network.status().ready != ready or words not in network.status().message:
            await asyncio.sleep(0.01)


async def test_it_says_why_there_is_no_network(tmp_path: Path, fake: FakeCni) -> None:
    (fake.config / "10-bad.conflist").write_text("{")
    fake.network("20-missing.conflist", "missing", {"type": "not-there"})
    fake.supports("fake-a", "0.4.0")
    fake.network("30-old.conflist", "old", A)
    async with _network(tmp_path, fake) as network:
        message = network.status().message
        start = f"Network plugin returns error: no CNI configuration file in {fake.config}. Has your network provider"
        assert message.startswith(start)
        assert "10-bad.conflist was skipped: cannot parse it" in message
        assert f"20-missing.conflist was skipped: cannot find plug-in not-there in {fake.bin}" in message
        assert "does not support version 1.0.0 of the network, only 0.4.0" in message


async def test_a_broken_file_does_not_hide_the_next_and_is_told_once(
    tmp_path: Path, fake: FakeCni, caplog: pytest.LogCaptureFixture
) -> None:
    (fake.config / "10-bad.conflist").write_text("{")
    fake.network("20-good.conflist", "good", A)
    async with _network(tmp_path, fake) as network:
        assert network.status().ready
        assert network.default_network() == "good"
        await network.reload()
        assert caplog.text.count(f"10-bad.conflist in {fake.config} is left out: cannot parse it") == 1


async def test_the_first_file_wins_and_changes_are_followed(tmp_path: Path, fake: FakeCni) -> None:
    async with _network(tmp_path, fake) as network:
        assert not network.status().ready
        fake.network("20-b.conflist", "b", A)
        await _until(network, True)
        assert network.default_network() == "b"
        fake.network("10-a.conflist", "a", A)
        async with asyncio.timeout(60):
            while network.default_network() != "a":
                await asyncio.sleep(0.01)
        shutil.rmtree(fake.config)
        await _until(network, False)
        fake.config.mkdir()
        fake.network("20-b.conflist", "b", A)
        await _until(network, True)


async def test_a_named_network_must_be_that_one(tmp_path: Path, fake: FakeCni) -> None:
    fake.network("10-a.conflist", "a", A)
    async with _network(tmp_path, fake, default_network="wanted") as network:
        assert "no CNI network named 'wanted'" in network.status().message
        assert network.status().message.endswith("only a")
        fake.network("20-w.conflist", "wanted", A)
        await _until(network, True)
        assert network.default_network() == "wanted"


async def test_a_plug_in_that_is_installed_later_is_noticed(tmp_path: Path, fake: FakeCni) -> None:
    fake.network("10-a.conflist", "a", {"type": "late"})
    async with _network(tmp_path, fake) as network:
        assert "cannot find plug-in late" in network.status().message
        fake.program("late")
        await _until(network, True)


async def test_status_is_asked_until_plug_ins_are_ready(
    tmp_path: Path, fake: FakeCni, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Readiness, "retry", 0.05)
    fake.network("10-a.conflist", "a", A, version="1.1.0")
    fake.fails("fake-a", "STATUS", "waiting for the controller", 50)
    async with _network(tmp_path, fake) as network:
        assert "fake-a STATUS for network a: waiting for the controller" in network.status().message
        fake.fails("fake-a", "STATUS", None)
        await _until(network, True)
        # Without a grace period plug-ins that were ready once are left alone.
        asked = len(fake.calls())
        await asyncio.sleep(0.3)
        assert len(fake.calls()) == asked


async def test_a_failure_counts_after_the_grace_period(
    tmp_path: Path, fake: FakeCni, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Readiness, "retry", 0.05)
    monkeypatch.setattr(Readiness, "poll", 0.05)
    fake.network("10-a.conflist", "a", A, version="1.1.0")
    async with _network(tmp_path, fake, status_grace_period=60) as network:
        assert network.status().ready
        asked = len(fake.calls())
        fake.fails("fake-a", "STATUS", "overloaded", 50)
        async with asyncio.timeout(60):
            while len(fake.calls()) < asked + 3:
                await asyncio.sleep(0.01)
        assert network.status().ready
        pass_seconds(monkeypatch, 61)
        await _until(network, False, "overloaded")
        fake.fails("fake-a", "STATUS", None)
        await _until(network, True)


async def test_old_versions_are_not_asked(tmp_path: Path, fake: FakeCni) -> None:
    fake.network("10-a.conflist", "a", A, version="1.0.0")
    fake.fails("fake-a", "STATUS", "never asked")
    async with _network(tmp_path, fake) as network:
        assert network.status().ready
        assert fake.calls() == []
