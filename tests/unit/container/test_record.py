"""The container's file on disk: round trip, old versions, damage."""

from __future__ import annotations

from pathlib import Path

from crio.container.record import FILE, ContainerRecord, ContainerUser, load, save

GOLDEN_V1 = (
    b'{"id":"' + b"ab" * 32 + b'","name":"k8s_app","sandbox_id":"' + b"cd" * 32 + b'","config":"CgUKA2FwcA==",'
    b'"created_at":1700000000000000000,"handler":"crun","user":{"uid":5,"groups":[7]},"pid":12,"pid_start":34,'
    b'"complete":true,"started_at":1700000000000000001}'
)


def test_round_trip(tmp_path: Path) -> None:
    record = ContainerRecord(
        id="ab" * 32,
        name="n",
        sandbox_id="cd" * 32,
        config=b"\x00\xff",
        created_at=5,
        user=ContainerUser(1, 2, (3, 4)),
        mounts=[b"\x01"],
        start_error="x",
    )
    save(str(tmp_path), record)
    assert load(str(tmp_path)) == record


def test_version_1_stays_readable(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(GOLDEN_V1)
    record = load(str(tmp_path))
    assert (record.version, record.user, record.stop_signal) == (1, ContainerUser(5, 0, (7,)), 15)
    assert record.complete
