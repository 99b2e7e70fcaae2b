"""Limits by project quotas; beyond refusals these tests need a kernel with quotas (tests/unit/linux/test_quota.py)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.file_systems import FULL, WITH_PROJECTS, make_files, mounted
from crio.base.errors import FailedPrecondition
from crio.base.ids import new_id
from crio.linux import quota
from crio.storage.driver import projects
from crio.storage.options import StoreOptions
from crio.storage.store import Store

pytestmark = pytest.mark.root


@pytest.fixture(scope="module", params=WITH_PROJECTS)
def limited(request: pytest.FixtureRequest) -> Iterator[Path]:
    if not shutil.which(f"mkfs.{request.param.partition(' ')[0]}"):
        pytest.skip(f"needs mkfs of {request.param}")
    try:
        with mounted(request.param, options="prjquota") as path:
            yield path
    except subprocess.CalledProcessError:
        pytest.skip("this kernel has no project quotas")


def test_a_file_system_that_cannot_is_named_with_what_to_do(place: Path) -> None:
    (place / "diff").mkdir()
    with pytest.raises(FailedPrecondition, match="prjquota"):
        projects.check(str(place))
    with pytest.raises(FailedPrecondition, match=str(place)):
        projects.limit(str(place), 1 << 20, None)
    projects.release(str(place))
    options = StoreOptions(str(place / "g"), str(place / "r"), driver_options=["overlay.size=1G"])
    with pytest.raises(FailedPrecondition, match="prjquota"), Store.open(options):
        pass


def test_every_container_has_its_own_limit(limited: Path) -> None:
    given = ["overlay.size=4M", "overlay.inodes=100"]
    options = StoreOptions(str(limited / "g"), str(limited / "r"), driver_options=given)
    with Store.open(options) as store:
        roots, numbers = [], set()
        for name in ("a", "b", "free"):
            id = new_id()
            store.create_container(id, names=[name], image_id=None)
            if name == "free":
                store.limit_container(id, size=16 << 20)
            roots.append(Path(store.mount_container(id)))
            fd = os.open(store.driver.writable_directory(store.container(id).layer), os.O_RDONLY)
            numbers.add(quota.project(fd))
            os.close(fd)
        assert len(numbers) == 3
        for root in roots[:2]:
            with pytest.raises(OSError, match=FULL):
                (root / "f").write_bytes(bytes(8 << 20))
            (root / "f").unlink()
            with pytest.raises(OSError, match=FULL):
                make_files(root, 200)
        (roots[2] / "f").write_bytes(bytes(8 << 20))
        with pytest.raises(FailedPrecondition, match="already"):
            store.limit_container(store.container("free").id, size=1)
        for container in store.containers():
            store.remove_container(container.id)
        fd = os.open(limited, os.O_RDONLY)
        assert all(quota.use(fd, number).byte_limit == 0 for number in numbers)
        os.close(fd)
