from __future__ import annotations

import json
from pathlib import Path

from crio.cli.doctor.finding import Finding, Level, Patient
from crio.cli.doctor.network import check
from crio.config import LoadedConfig, parse


def examine(tmp_path: Path, default: str = "") -> list[Finding]:
    config = parse(
        f'[crio.network]\nnetwork_dir = "{tmp_path}"\nplugin_dirs = ["{tmp_path}"]\n'
        f'cni_default_network = "{default}"\n',
        "x",
    )
    return list(check(Patient(LoadedConfig(config, (), {}, (), "", "", {}), "/nowhere")))


def write(tmp_path: Path, file: str, name: str, kind: str) -> None:
    content = {"cniVersion": "1.0.0", "name": name, "plugins": [{"type": kind}]}
    (tmp_path / file).write_text(json.dumps(content))


def test_no_network(tmp_path: Path) -> None:
    (found,) = examine(tmp_path)
    assert found.level is Level.ERROR
    assert "there is no CNI network" in found.text


def test_a_network_of_built_in_plug_ins(tmp_path: Path) -> None:
    write(tmp_path, "10-a.conflist", "a", "bridge")
    (found,) = examine(tmp_path)
    assert found == (Level.OK, "network", f"a, from {tmp_path}/10-a.conflist", "")


def test_a_missing_plug_in(tmp_path: Path) -> None:
    write(tmp_path, "10-a.conflist", "a", "flannel")
    (found,) = examine(tmp_path)
    assert found.level is Level.ERROR
    assert "wants the plug-in flannel" in found.text


def test_several_networks_and_a_broken_file(tmp_path: Path) -> None:
    write(tmp_path, "10-a.conflist", "a", "bridge")
    write(tmp_path, "20-b.conflist", "b", "bridge")
    (tmp_path / "30-c.conflist").write_text("{")
    texts = [found.text for found in examine(tmp_path)]
    assert any("30-c.conflist is left out" in text for text in texts)
    assert any("pods get a because its file is the first, not b" in text for text in texts)
    (found,) = (found for found in examine(tmp_path, "c") if found.level is Level.ERROR)
    assert found.text.endswith(f"there is no network c in {tmp_path}, only a, b")
