"""A short storm of random operations and kills; `./dev storm MINUTES` is the long one."""

from __future__ import annotations

import pytest

from node import Node
from storm.weather import Storm

pytestmark = [pytest.mark.root, pytest.mark.slow]

SECONDS = 20.0


@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_a_storm_does_nothing_wrong_and_leaves_nothing(node: Node) -> None:
    report = await Storm(node, 36).rounds(SECONDS, SECONDS)
    assert report.wrong == []
    assert report.leaked == []
    assert report.kills > 0
    assert report.containers > 20
