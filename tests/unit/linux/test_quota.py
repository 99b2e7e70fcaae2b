"""Where no file system with project quotas can be mounted, only refusals are tested; the kernel of the guest
(docs/guest.md) can: `./dev vm test tests/unit/linux/test_quota.py tests/unit/storage/driver/test_projects.py`.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.file_systems import FULL, WITH_PROJECTS, mounted
from crio.linux import quota

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


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[int]:
    fd = os.open("/proc", os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def test_a_file_system_without_quotas(plain: int) -> None:
    assert not quota.is_enforced(plain)
    with pytest.raises(OSError, match=r".+") as raised:
        quota.project(plain)
    assert raised.value.errno in (errno.ENOTTY, errno.EOPNOTSUPP)
    with pytest.raises(OSError, match=r".+"):
        quota.limit(plain, 5, size=1)
    with pytest.raises(OSError, match=r".+"):
        quota.use(plain, 5)


def _as_a_container(*argv: str) -> str:
    """What a program says; ext4 has no limits for who has CAP_SYS_RESOURCE, which containers and overlay have not."""
    command = ["setpriv", "--bounding-set=-sys_resource", *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


def test_a_directory_is_limited(limited: Path) -> None:
    place = limited / "d"
    place.mkdir()
    fd = os.open(place, os.O_RDONLY)
    try:
        assert quota.is_enforced(fd)
        assert quota.project(fd) == 0
        quota.set_project(fd, 4711)
        quota.limit(fd, 4711, size=1 << 20, inodes=5)
        assert re.search(FULL, _as_a_container("dd", "if=/dev/zero", f"of={place}/big", "bs=1M", "count=2"))
        (place / "big").unlink()
        assert re.search(FULL, _as_a_container("touch", *(f"{place}/{number}" for number in range(10))))
        use = quota.use(fd, 4711)
        assert (use.byte_limit, use.inode_limit, use.inodes) == (1 << 20, 5, 5)
        quota.limit(fd, 4711)
        (place / "big").write_bytes(bytes(2 << 20))
        assert quota.use(fd, 4711).bytes >= 2 << 20
        assert quota.use(fd, 4712) == quota.ProjectUse(0, 0, 0, 0)
    finally:
        os.close(fd)
