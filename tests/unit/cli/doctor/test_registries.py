from __future__ import annotations

import socket
from pathlib import Path

import pytest

from crio.cli.doctor.finding import Finding, Level, Patient
from crio.cli.doctor.registries import check
from crio.config import LoadedConfig, parse


@pytest.fixture(autouse=True)
def _own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF_DIR", str(tmp_path / "none"))


def examine(tmp_path: Path, registries: str, image: str = "", policy: str = "") -> list[Finding]:
    (tmp_path / "registries.conf").write_text(registries)
    (tmp_path / "policy.json").write_text(policy or '{"default": [{"type": "insecureAcceptAnything"}]}')
    config = parse(f'[crio.image]\nsignature_policy = "{tmp_path}/policy.json"\n{image}', "x")
    patient = Patient(LoadedConfig(config, (), {}, (), "", "", {}), "/nowhere")
    return list(check(patient))


def test_a_registry_that_answers_and_one_that_does_not(tmp_path: Path) -> None:
    with socket.socket() as listening, socket.socket() as closed:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        closed.bind(("127.0.0.1", 0))
        up, down = listening.getsockname()[1], closed.getsockname()[1]
        found = examine(
            tmp_path,
            f'[[registry]]\nlocation = "127.0.0.1:{up}/path"\n[[registry.mirror]]\nlocation = "127.0.0.1:{down}"\n',
        )
    assert (Level.OK, f"127.0.0.1:{up} answers") in [(each.level, each.text) for each in found]
    (problem,) = (each for each in found if each.level is Level.WARNING)
    assert problem.text == f"127.0.0.1:{down} cannot be reached: Connection refused"


def test_files_that_are_wrong(tmp_path: Path) -> None:
    (found,) = examine(tmp_path, "[[registry")
    assert found.level is Level.ERROR
    assert "registries.conf" in found.text
    found = next(each for each in examine(tmp_path, "", policy="{") if each.level is Level.ERROR)
    assert "policy.json" in found.text
    found = next(
        each
        for each in examine(tmp_path, "", f'global_auth_file = "{tmp_path}/auth.json"\n')
        if each.level is Level.ERROR
    )
    assert "global_auth_file" in found.text


def test_credentials_that_all_can_read_and_short_names(tmp_path: Path) -> None:
    (tmp_path / "auth.json").write_text("{}")
    (tmp_path / "auth.json").chmod(0o644)
    found = examine(
        tmp_path,
        'unqualified-search-registries = ["127.0.0.1:1", "127.0.0.1:2"]\n',
        f'global_auth_file = "{tmp_path}/auth.json"\n',
    )
    texts = [each.text for each in found if each.level is Level.WARNING]
    assert any("others than root can read it" in text for text in texts)
    assert any("short image names are refused" in text for text in texts)
