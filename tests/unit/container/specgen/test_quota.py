from __future__ import annotations

import pytest

from crio.base.errors import InvalidArgument
from crio.container.specgen.quota import rootfs_quota


@pytest.mark.parametrize(
    ("text", "size"),
    [("65536", 65536), ("512Mi", 512 << 20), ("2G", 2 << 30), ("1tib", 1 << 40), (" 100K ", 100 << 10)],
)
def test_sizes(text: str, size: int) -> None:
    assert rootfs_quota({"rootfs-quota.crio.io": text}, "app") == size


def test_of_one_container() -> None:
    annotations = {"rootfs-quota.crio.io/app": "1G"}
    assert rootfs_quota(annotations, "app") == 1 << 30
    assert rootfs_quota(annotations, "other") is None


@pytest.mark.parametrize("text", ["", "0", "1", "-1G", "1.5G", "G", "999999999999999T"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(InvalidArgument):
        rootfs_quota({"rootfs-quota.crio.io": text}, "app")
