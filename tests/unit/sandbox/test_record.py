"""The sandbox' file on disk: round trip, and old versions."""

from __future__ import annotations

from pathlib import Path

from crio.sandbox.record import FILE, SandboxRecord, load, save

GOLDEN_V1 = (
    b'{"id":"' + b"ab" * 32 + b'","name":"k8s_web_default_u1_0","config":"CgUKA3dlYg==","fingerprint":"AQI=",'
    b'"created_at":1700000000000000000,"cgroup_parent":"/crio","namespaces":{"net":"/run/netns/x"},'
    b'"hostname":"web","ips":["10.0.0.2"],"complete":true}'
)


def test_round_trip(tmp_path: Path) -> None:
    record = SandboxRecord(id="ab" * 32, name="n", config=b"\x00\xff", created_at=5, ips=["10.1.2.3"], complete=True)
    save(str(tmp_path), record)
    assert load(str(tmp_path)) == record


def test_version_1_stays_readable(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(GOLDEN_V1)
    record = load(str(tmp_path))
    assert record.version == 1
    assert record.config == b"\n\x05\n\x03web"
    assert record.namespaces == {"net": "/run/netns/x"}
    assert record.complete
    assert not record.stopping
