from __future__ import annotations

from typing import cast

import pytest

from crio.base.errors import DataLoss, NotFound
from crio.image.records import ImageInfo
from crio.image.restore import restore, with_restore
from crio.image.service import ImageService

ID = "a" * 64


class Origins:
    """What pulls of some names give."""

    def __init__(self, **images: str) -> None:
        self.images = images
        self.pulled: list[tuple[str, str]] = []

    async def pull(self, name: str, *, namespace: str) -> ImageInfo:
        self.pulled.append((name, namespace))
        if name not in self.images:
            raise NotFound(f"cannot pull {name}: gone")
        return info(self.images[name])


def info(id: str, *digests: str) -> ImageInfo:
    return ImageInfo(id, (), digests, "", 0, "", False, lambda key: b"", lambda: "")


async def test_the_first_origin_that_still_has_it(caplog: pytest.LogCaptureFixture) -> None:
    origins = Origins(second=ID, third=ID)
    await restore(cast(ImageService, origins), info(ID, "first", "second", "third"), "team")
    assert origins.pulled == [("first", "team"), ("second", "team")]
    assert "is damaged, and fetched again as second" in caplog.text


async def test_origins_that_do_not_have_it() -> None:
    with pytest.raises(DataLoss, match="not known where"):
        await restore(cast(ImageService, Origins()), info(ID), "")
    with pytest.raises(DataLoss, match=r"cannot pull a: gone; b is now image bb.*pull it again"):
        await restore(cast(ImageService, Origins(b="b" * 64)), info(ID, "a", "b"), "")


async def test_what_finds_a_layer_lost_is_done_again_once() -> None:
    done: list[str] = []

    async def make() -> int:
        done.append("make")
        if done.count("make") < 2:
            raise DataLoss("cannot mount: layer 1 is damaged")
        return 5

    async def unmake() -> None:
        done.append("unmake")

    origins = Origins(first=ID)
    assert await with_restore(cast(ImageService, origins), info(ID, "first"), "team", make, unmake) == 5
    assert done == ["make", "unmake", "make"]
    assert origins.pulled == [("first", "team")]
    assert await with_restore(cast(ImageService, origins), info(ID, "first"), "team", make, unmake) == 5
    assert len(done) == 4
    del done[:]
    with pytest.raises(DataLoss, match="not known where"):
        await with_restore(cast(ImageService, origins), info(ID), "team", make, unmake)
    assert done == ["make", "unmake"]
