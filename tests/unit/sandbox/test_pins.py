"""A pod's namespaces as files, on the real kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from crio.linux.mount import is_mount_point
from crio.linux.namespaces import unshare_directory
from crio.sandbox.pins import pin, unpin
from crio.sandbox.record import SandboxRecord
from crio.spec.oci_runtime import IdMapping

pytestmark = pytest.mark.root


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for place in tmp_path.iterdir():
        for path in place.iterdir():
            unpin({"any": str(path)})
        if is_mount_point(str(place)):
            unshare_directory(str(place))


@pytest.mark.parametrize("mapped", [False, True])
def test_made_and_taken_away(directory: Path, mapped: bool) -> None:
    kinds = ("user", "net", "uts", "ipc") if mapped else ("net", "uts")
    paths = {kind: str(directory / f"{kind}ns" / "1") for kind in kinds}
    maps = [IdMapping(0, 1_000_000, 10), IdMapping(10, 2_000_000, 10)] if mapped else []
    record = SandboxRecord(
        id="1",
        name="p",
        config=b"",
        created_at=1,
        namespaces=paths,
        hostname="web",
        uid_mappings=maps,
        gid_mappings=maps,
    )
    pin(record, {"net.core.somaxconn": "77"})
    for kind, path in paths.items():
        assert os.stat(path).st_ino != os.stat(f"/proc/self/ns/{kind}").st_ino
    unpin(paths)
    unpin(paths)
    assert not any(os.path.exists(path) for path in paths.values())
