from __future__ import annotations

import json
from pathlib import Path

from crio.network.config import load_networks
from crio.spec.cni import MAX_CONFIG


def _write(path: Path, name: str, *types: str) -> None:
    path.write_text(json.dumps({"cniVersion": "1.0.0", "name": name, "plugins": [{"type": kind} for kind in types]}))


def test_files_are_taken_in_their_order(tmp_path: Path) -> None:
    _write(tmp_path / "20-b.conflist", "b", "bridge")
    _write(tmp_path / "10-a.json", "a", "bridge", "portmap")
    (tmp_path / "30-c.conf").write_text('{"type": "ptp", "name": "c"}')
    _write(tmp_path / "05-no.txt", "no", "bridge")
    (tmp_path / "01-directory.conf").mkdir()
    found = load_networks(str(tmp_path))
    assert list(found.by_name) == ["a", "b", "c"]
    assert found.broken == {}
    assert found.choose("") is found.by_name["a"]
    assert found.choose("c") is found.by_name["c"]
    assert found.choose("x") is None


def test_the_first_of_one_name_wins(tmp_path: Path) -> None:
    _write(tmp_path / "1.conflist", "a", "bridge")
    _write(tmp_path / "2.conflist", "a", "ptp")
    assert load_networks(str(tmp_path)).by_name["a"].path.endswith("1.conflist")


def test_broken_files_are_named_and_skipped(tmp_path: Path) -> None:
    (tmp_path / "1.conflist").write_text("{")
    (tmp_path / "2.conflist").write_text("")
    (tmp_path / "3.conflist").write_bytes(b" " * (MAX_CONFIG + 1))
    (tmp_path / "4.conflist").symlink_to("nowhere")
    _write(tmp_path / "5.conflist", "good", "bridge")
    (tmp_path / "6.conflist").write_bytes(b'{"name":"\xff","plugins":[]}')
    (tmp_path / "7.conflist").write_text('{"name":"net","plugins":7}')
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "1.conf").write_text('{"type": "tuning"}')
    found = load_networks(str(tmp_path))
    assert list(found.by_name) == ["good"]
    assert found.broken.keys() == {f"{number}.conflist" for number in (1, 2, 3, 6, 7)}
    assert found.broken["2.conflist"] == "it is empty"
    assert "longer than" in found.broken["3.conflist"]


def test_a_directory_that_is_not_there_is_empty(tmp_path: Path) -> None:
    found = load_networks(str(tmp_path / "none"))
    assert (found.by_name, found.broken) == ({}, {})


def test_plug_ins_in_files_beside_a_list_come_after_it(tmp_path: Path) -> None:
    _write(tmp_path / "1.conflist", "net", "bridge")
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "2.conf").write_text('{"type": "tuning"}')
    (tmp_path / "net" / "1.conf").write_text('{"type": "portmap"}')
    (tmp_path / "net" / "3.txt").write_text("{")
    network = load_networks(str(tmp_path)).by_name["net"].config
    assert [plugin.type for plugin in network.plugins] == ["bridge", "portmap", "tuning"]
    only = {"name": "net", "cniVersion": "1.1.0", "loadOnlyInlinedPlugins": True, "plugins": [{"type": "bridge"}]}
    (tmp_path / "1.conflist").write_text(json.dumps(only))
    assert len(load_networks(str(tmp_path)).by_name["net"].config.plugins) == 1
    _write(tmp_path / "1.conflist", "net", "bridge")
    (tmp_path / "net" / "1.conf").write_text("{")
    assert "net/1.conf" in load_networks(str(tmp_path)).broken["1.conflist"]
    (tmp_path / "net" / "1.conf").write_bytes(b'{"type": "\xff"}')
    assert "net/1.conf" in load_networks(str(tmp_path)).broken["1.conflist"]
