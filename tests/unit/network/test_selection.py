from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contract.cni_plugins import PLUGIN_DIRECTORY
from contract.fake_cni import FakeCni
from crio.base.errors import InvalidArgument, Unavailable
from crio.network.executable import Executable
from crio.network.selection import BuiltinMode, PluginSelection
from crio.spec.cni import NetworkConfig, PluginConfig

BRIDGE: dict[str, Any] = {
    "type": "bridge",
    "bridge": "b",
    "ipam": {"type": "host-local", "subnet": "10.0.0.0/24"},
}


def _network(raw: dict[str, Any], version: str = "1.0.0") -> NetworkConfig:
    return NetworkConfig("n", version, (PluginConfig(raw["type"], frozenset(), raw),), b"{}")


async def _is_builtin(selection: PluginSelection, raw: dict[str, Any], wanted: bool | None = None) -> bool:
    network = _network(raw)
    return (await selection.select(network, network.plugins[0], wanted)).builtin


@pytest.mark.parametrize(("mode", "builtin"), [("auto", True), ("never", False), ("always", True)])
async def test_the_mode_decides_beside_the_standard_program(mode: BuiltinMode, builtin: bool) -> None:
    assert await _is_builtin(PluginSelection([PLUGIN_DIRECTORY], mode), BRIDGE) is builtin


async def test_an_unknown_field_is_for_the_program() -> None:
    selection = PluginSelection([PLUGIN_DIRECTORY])
    assert not await _is_builtin(selection, BRIDGE | {"vlan": 7})
    assert not await _is_builtin(selection, {"type": "tuning"})


@pytest.mark.parametrize("name", ["bridge", "host-local"])
async def test_a_program_of_somebody_else_is_used(tmp_path: Path, name: str) -> None:
    fake = FakeCni(tmp_path)
    fake.program(name)
    selection = PluginSelection([str(fake.bin), PLUGIN_DIRECTORY])
    assert not await _is_builtin(selection, BRIDGE)
    assert await _is_builtin(PluginSelection([str(fake.bin)], "always"), BRIDGE)


async def test_a_program_that_is_replaced_is_noticed(tmp_path: Path) -> None:
    for name in ("bridge", "host-local"):
        (tmp_path / name).symlink_to(f"{PLUGIN_DIRECTORY}/{name}")
    selection = PluginSelection([str(tmp_path)])
    assert await _is_builtin(selection, BRIDGE)
    (tmp_path / "bridge").unlink()
    (tmp_path / "bridge").write_text('#!/bin/sh\necho \'{"supportedVersions": ["1.0.0"]}\'\n')
    (tmp_path / "bridge").chmod(0o755)
    assert not await _is_builtin(selection, BRIDGE)


async def test_a_program_that_is_being_written_is_unavailable(tmp_path: Path) -> None:
    fake = FakeCni(tmp_path)
    fake.program("fake-a")
    selection, network = PluginSelection([str(fake.bin)]), _network({"type": "fake-a"})
    await selection.validate(network)
    # The kernel refuses to run it, as it refuses what somebody has open for writing.
    (fake.bin / "fake-a").write_bytes(b"")
    with pytest.raises(Unavailable, match=f"cannot run plug-in {fake.bin}/fake-a: "):
        await selection.select(network, network.plugins[0])
    with pytest.raises(InvalidArgument, match="cannot run plug-in"):
        await selection.validate(network)
    fake.program("fake-a")
    assert not (await selection.select(network, network.plugins[0])).builtin


async def test_without_any_program_the_built_in_one_works(tmp_path: Path) -> None:
    selection = PluginSelection([str(tmp_path)])
    assert await _is_builtin(selection, BRIDGE)
    await selection.validate(_network(BRIDGE))
    with pytest.raises(InvalidArgument, match=f"cannot find plug-in ptp in {tmp_path}"):
        await selection.validate(_network({"type": "ptp"}))
    with pytest.raises(Unavailable, match="cannot find plug-in ptp"):
        await _is_builtin(selection, {"type": "ptp"})


async def test_an_attachment_is_undone_by_what_made_it() -> None:
    for mode, wanted in (("never", True), ("auto", False)):
        selection = PluginSelection([PLUGIN_DIRECTORY], mode)  # type: ignore[arg-type]
        assert await _is_builtin(selection, BRIDGE, wanted) is wanted
    network = _network(BRIDGE)
    program = await PluginSelection([PLUGIN_DIRECTORY]).select(network, network.plugins[0], False)
    assert isinstance(program, Executable)
    assert program.path == f"{PLUGIN_DIRECTORY}/bridge"


async def test_a_plug_in_must_know_the_version(tmp_path: Path) -> None:
    fake = FakeCni(tmp_path)
    fake.program("fake")
    fake.supports("fake", "0.3.1", "0.4.0")
    selection = PluginSelection([str(fake.bin)])
    await selection.validate(_network({"type": "fake"}, "0.4.0"))
    with pytest.raises(InvalidArgument, match=r"fake: it does not support version 1\.0\.0"):
        await selection.validate(_network({"type": "fake"}))


async def test_all_problems_of_a_network_are_named(tmp_path: Path) -> None:
    plugins = tuple(PluginConfig(kind, frozenset(), {"type": kind}) for kind in ("one", "two"))
    with pytest.raises(InvalidArgument, match=r"one .*two "):
        await PluginSelection([str(tmp_path)]).validate(NetworkConfig("n", "1.0.0", plugins, b"{}"))
