from __future__ import annotations

import asyncio
import errno

import pytest

from crio.base.errors import InvalidArgument
from crio.config import Config, LoadedConfig, parse
from crio.config.problem import Problem, Source
from crio.daemon.reload import Reloader


class Daemon:
    """Three takers, of which one may refuse."""

    def __init__(self) -> None:
        self.config = parse("", "x")
        self.text = ""
        self.first = self.second = self.config
        self.refuse: Exception | None = None
        self.prepared = 0
        self.reloader = Reloader(self.read, lambda: self.config, (self.prepare,), (self.one, self.two, self.last))

    def read(self) -> LoadedConfig:
        warnings = (Problem(Source("x", 1), "unknown key y"),)
        return LoadedConfig(parse(self.text, "x"), warnings, {}, (), "", "", {})

    async def prepare(self, config: Config) -> None:
        self.prepared += 1
        await asyncio.sleep(0)

    def one(self, config: Config) -> None:
        self.first = config

    def two(self, config: Config) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.second = config

    def last(self, config: Config) -> None:
        self.config = config


async def test_all_take_it_over(caplog: pytest.LogCaptureFixture) -> None:
    daemon = Daemon()
    daemon.text = '[crio]\nlog_dir = "/x"\nroot = "/y"\n'
    plan = await daemon.reloader.reload()
    assert plan is not None
    assert (len(plan.live), len(plan.pending)) == (1, 1)
    assert daemon.first is daemon.second is daemon.config
    assert daemon.config.crio.log_dir == "/x"
    assert daemon.config.crio.root != "/y"
    assert "unknown key y" in caplog.text


@pytest.mark.parametrize(
    "error",
    [InvalidArgument("cannot use that certificate"), OSError(errno.EMFILE, "Too many open files")],
    ids=["refusal", "failure"],
)
async def test_if_one_refuses_all_keep_what_they_had(caplog: pytest.LogCaptureFixture, error: Exception) -> None:
    daemon = Daemon()
    before = daemon.config
    daemon.text = '[crio]\nlog_dir = "/x"\n'
    daemon.refuse = error
    assert await daemon.reloader.reload() is None
    assert daemon.first == before
    assert daemon.second is daemon.config is before
    assert f"the old one stays: {error}" in caplog.text


async def test_what_cannot_be_read_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    daemon = Daemon()
    daemon.text = "[crio"
    assert await daemon.reloader.reload() is None
    assert daemon.prepared == 0
    assert "x: is not TOML" in caplog.text


async def test_reloads_follow_each_other() -> None:
    daemon = Daemon()
    daemon.text = '[crio]\nlog_dir = "/x"\n'
    plans = await asyncio.gather(daemon.reloader.reload(), daemon.reloader.reload())
    assert [len(plan.live) for plan in plans if plan is not None] == [1, 0]
