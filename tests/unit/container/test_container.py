"""The state of a container is derived from facts."""

from __future__ import annotations

from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import FailedPrecondition
from crio.conmon.exitrecord import ExitRecord
from crio.conmon.watch import Monitor
from crio.container.container import Container, State
from crio.container.record import ContainerRecord
from small_node import SmallNode, make_container


def container(**facts: object) -> Container:
    record = ContainerRecord(id="ab" * 32, name="n", sandbox_id="cd" * 32, config=b"", created_at=1)
    for name, value in facts.items():
        setattr(record, name, value)
    return Container("/nowhere", record)


def ended(record: ExitRecord, **facts: object) -> Container:
    item = container(**facts)
    item.exit = record
    return item


def test_states_are_the_cris() -> None:
    assert {state.name: state.value for state in State} == {
        "CREATED": pb.CONTAINER_CREATED,
        "RUNNING": pb.CONTAINER_RUNNING,
        "EXITED": pb.CONTAINER_EXITED,
        "UNKNOWN": pb.CONTAINER_UNKNOWN,
    }


@pytest.mark.parametrize(
    ("item", "state", "code", "reason", "finished"),
    [
        (container(), State.CREATED, 0, "", 0),
        (container(started_at=5), State.RUNNING, 0, "", 0),
        (container(start_error="no such file", lost_at=7), State.EXITED, 128, "StartError", 7),
        (ended(ExitRecord(0, finished_at_ns=9), started_at=5), State.EXITED, 0, "Completed", 9),
        (ended(ExitRecord(3, finished_at_ns=9), started_at=5), State.EXITED, 3, "Error", 9),
        (ended(ExitRecord(137, finished_at_ns=9, oom_killed=True), started_at=5), State.EXITED, 137, "OOMKilled", 9),
        (ended(ExitRecord(137, finished_at_ns=9)), State.EXITED, 137, "Error", 9),
        (ended(ExitRecord.lost(), started_at=5, lost_at=8), State.EXITED, 255, "Error", 8),
    ],
)
def test_facts_to_state(item: Container, state: State, code: int, reason: str, finished: int) -> None:
    assert (item.state, item.exit_code, item.reason, item.finished_at) == (state, code, reason, finished)


def test_messages_say_what_the_reason_cannot() -> None:
    assert container(start_error="cannot start: no such file").message == "cannot start: no such file"
    assert "monitor" in ended(ExitRecord.lost(), started_at=5).message
    assert "disk full" in ended(ExitRecord(0, log_dropped=10, log_error="disk full")).message
    assert ended(ExitRecord(0)).message == ""


async def test_nothing_is_kept_of_the_monitor_of_one_that_has_ended_before(tmp_path: Path) -> None:
    small = SmallNode(tmp_path)
    item = make_container(ended=ExitRecord(3, finished_at_ns=1))
    small.containers.adopt(item, await Monitor.connect(item.id, str(tmp_path)))
    assert item.exited.is_set()
    with pytest.raises(FailedPrecondition, match="it has ended"):
        small.containers.monitor(item)
