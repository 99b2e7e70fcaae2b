"""A short storm of random operations and kills; `./dev storm MINUTES` is the long one."""

from __future__ import annotations

import pytest

from node import Node
from storm.weather import Storm

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(1200)]

SECONDS = 20.0


@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_a_storm_does_nothing_wrong_and_leaves_nothing(node: Node) -> None:
    storm = Storm(node, 36)
    # On a busy machine one round may not be much of a storm.
    while storm.report.kills == 0 or storm.report.containers <= 20:
        await storm.rounds(SECONDS, SECONDS)
        assert storm.report.wrong == []
        assert storm.report.leaked == []
