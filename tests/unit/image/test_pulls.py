from __future__ import annotations

import logging

import pytest

from crio.image import pulls
from crio.image.progress import LayerProgress, LayerState
from crio.image.pulls import PullProgress, PullStatus, PullUnderWay
from crio.image.worker.messages import Update
from log_records import of_crio


def layer(
    digest: str, size: int, done: int, state: LayerState = LayerState.FETCHING, skipped: int = 0
) -> LayerProgress:
    return LayerProgress(digest, size, done, state, skipped=skipped)


def test_rate_is_that_of_the_last_seconds() -> None:
    status = PullStatus("a:1")
    assert status.rate(0.0) == 0.0
    status.layers["x"] = layer("x", 10_000, 10_000, LayerState.EXISTS)
    for second in range(20):
        status.layers["y"] = layer("y", 100_000, 1000 * second)
        status.sample(float(second))
        status.sample(second + 0.1)
    assert status.rate(19.0) == 1000.0
    assert status.rate(23.0) == pytest.approx(5000 / 9)
    assert status.rate(60.0) == 0.0, "nothing has come for long"
    assert (status.bytes_done, status.bytes_total, status.bytes_received) == (29_000, 110_000, 19_000)
    assert "29.0 of 110.0" not in status.describe()
    assert status.describe().startswith("stage 'resolve', 0.0 of 0.1 MB at ")
    assert status.describe().endswith("1 of 2 layers")


def test_observers_hear_of_changes_and_the_log_of_tenths(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, pulls.__name__)
    now = 100.0
    monkeypatch.setattr("crio.image.pulls.time.monotonic", lambda: now)
    pull = PullUnderWay(PullStatus("a:1", "team"))
    heard: list[PullProgress] = []
    pull.observers.append(heard.append)
    for percent in range(0, 101, 5):
        now += 1.0
        pull.update(Update(1, [layer("x", 1_000_000, percent * 10_000)], "fetch" if not percent else ""))
    assert len(heard) == 21
    lines = [record.getMessage() for record in of_crio(caplog)]
    assert len(lines) == 10
    assert lines[0] == "pulling a:1: stage 'fetch', 0.1 of 1.0 MB at 0.1 MB/s, 0 of 1 layers"
    pull.update(Update(1, [layer("x", 1_000_000, 1_000_000, LayerState.DONE, 400_000)]))
    pull.update(Update(1, [layer("y", 5_000_000, 5_000_000, LayerState.EXISTS)]))
    pull.log_end()
    assert of_crio(caplog)[-1].getMessage() == "got a:1 in 21.0 s: 0.6 MB in 1 new layers, 1 were here for team"
