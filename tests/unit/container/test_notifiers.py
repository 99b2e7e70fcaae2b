"""What becomes of a container's forbidden calls. That a runtime hands them over is shown in security/'s tests."""

from __future__ import annotations

import os
from pathlib import Path

from crio.container.container import Container
from crio.container.notifiers import STOP, Notifiers
from crio.container.record import ContainerRecord, load


def made(directory: Path) -> Container:
    directory.mkdir()
    record = ContainerRecord(id="c" * 64, name="name", sandbox_id="p" * 64, config=b"", created_at=1, started_at=1)
    return Container(str(directory), record)


async def test_a_container_is_stopped_once_it_is_quiet(tmp_path: Path) -> None:
    container = made(tmp_path / "ctr")
    counted: list[tuple[str, str]] = []
    stopped: list[Container] = []
    notifiers = Notifiers(lambda name, call: counted.append((name, call)))
    notifiers.stop = stopped.append
    path = str(tmp_path / "notify" / "socket")
    notifiers.start(container, path, STOP)
    try:
        assert os.path.exists(path)
        notifier = notifiers._by_id[container.id]
        notifier.calls["mount"] += 2
        notifier._on_call("mount")
        notifier._on_quiet()
        assert counted == [("name", "mount")]
        assert stopped == [container]
        assert load(container.directory).forbidden_calls == "mount (2x)"
    finally:
        notifiers.close(container.id)
        notifiers.close(container.id)
    assert not os.path.exists(path)


async def test_other_actions_only_count(tmp_path: Path) -> None:
    container = made(tmp_path / "ctr")
    stopped: list[Container] = []
    notifiers = Notifiers(lambda name, call: None)
    notifiers.stop = stopped.append
    notifiers.start(container, str(tmp_path / "socket"), "log")
    notifiers._by_id[container.id]._on_quiet()
    notifiers.close_all()
    assert stopped == []
    assert container.record.forbidden_calls == ""
    assert not os.path.exists(tmp_path / "socket")
