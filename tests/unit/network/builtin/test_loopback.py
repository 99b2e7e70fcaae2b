from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contract.cni_plugins import KINDS, chained, pod
from crio.network.builtin import loopback
from crio.network.plugin import PluginFailed

pytestmark = pytest.mark.root

CONFIG: dict[str, Any] = {"cniVersion": "1.0.0", "name": "lo", "type": "loopback"}


async def test_both_give_the_same_result(tmp_path: Path) -> None:
    results = []
    for kind in KINDS:
        with pod(str(tmp_path / kind)) as made:
            results.append(await made.add(kind, CONFIG))
            for interface in results[-1]["interfaces"]:
                assert interface.pop("sandbox") == made.netns
            assert "LOWER_UP" in made.run("ip", "link", "show", "lo")
    assert results[0] == results[1]


async def test_an_earlier_result_is_passed_on(tmp_path: Path) -> None:
    earlier = {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0"}], "ips": [], "dns": {}}
    with pod(str(tmp_path)) as made:
        assert await made.add("builtin", chained(CONFIG, earlier)) == earlier
        await made.check("builtin", chained(CONFIG, earlier))
        made.run("ip", "link", "set", "lo", "down")
        with pytest.raises(PluginFailed, match="lo is down"):
            await made.check("builtin", CONFIG)
        await made.delete("builtin", CONFIG)


def test_unknown_fields_are_left_to_the_program() -> None:
    assert loopback.knows(CONFIG)
    assert not loopback.knows(CONFIG | {"mtu": 1})
