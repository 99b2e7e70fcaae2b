from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import pytest

from crio.base.errors import InvalidArgument, NotFound
from crio.cli.crioctl.program import global_parser
from crio.cli.crioctl.settings import DEFAULT_ENDPOINT, Settings, normalise_endpoint, read_config, resolve, write_config


def flags(*arguments: str) -> argparse.Namespace:
    return global_parser().parse_args([*arguments, "ps"])


def settled(*arguments: str, environ: Mapping[str, str] | None = None) -> Settings:
    return resolve(flags(*arguments), environ or {})


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "crictl.yaml"
    path.write_text(
        "runtime-endpoint: unix:///run/file.sock\n"
        'image-endpoint: "unix:///run/images.sock" # the other one\n'
        "timeout: 7\n\n# habits\ndebug: true\ndisable-pull-on-run: true\nunknown-key: 1\n"
    )
    return path


def test_file(config: Path) -> None:
    found = settled("--config", str(config))
    assert found.runtime_endpoint == "unix:///run/file.sock"
    assert found.image_endpoint == "unix:///run/images.sock"
    assert found.connect_seconds == 7
    assert found.call_seconds is None
    assert found.debug
    assert not found.pull_on_run
    assert found.retries == 0


def test_file_by_environment(config: Path) -> None:
    assert settled(environ={"CRI_CONFIG_FILE": str(config)}).runtime_endpoint == "unix:///run/file.sock"


def test_environment_goes_before_the_file_and_flags_before_both(config: Path) -> None:
    environ = {"CONTAINER_RUNTIME_ENDPOINT": "unix:///run/env.sock"}
    found = settled("--config", str(config), environ=environ)
    assert (found.runtime_endpoint, found.image_endpoint) == ("unix:///run/env.sock", "unix:///run/env.sock")
    found = settled("-c", str(config), "-r", "/run/flag.sock", "-t", "5s", environ=environ)
    assert (found.runtime_endpoint, found.connect_seconds, found.call_seconds) == ("unix:///run/flag.sock", 5, 5)


def test_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crio.cli.crioctl.settings.DEFAULT_CONFIG", str(tmp_path / "none"))
    assert settled() == Settings(config_path=str(tmp_path / "none"))
    assert settled().runtime_endpoint == DEFAULT_ENDPOINT


def test_missing_file_is_an_error_only_if_asked_for(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        settled("--config", str(tmp_path / "none"))


def test_full_yaml_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("runtime-endpoint: >-\n  unix:///run/folded.sock\nmax-retries: -1\n")
    assert read_config(str(path)) == {"runtime-endpoint": "unix:///run/folded.sock", "max-retries": -1}
    assert settled("-c", str(path)).retries == -1


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [\n", "timeout: soon\n"])
def test_malformed_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(InvalidArgument, match="cannot use the configuration"):
        settled("-c", str(path))


def test_write_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "crictl.yaml"
    write_config(str(path), {"runtime-endpoint": "unix:///x", "debug": True, "timeout": 3})
    assert read_config(str(path)) == {
        "runtime-endpoint": "unix:///x",
        "image-endpoint": "",
        "timeout": 3,
        "debug": True,
        "pull-image-on-create": False,
        "disable-pull-on-run": False,
        "max-retries": 3,
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [("/run/a", "unix:///run/a"), ("unix:///run/a", "unix:///run/a"), ("unix:/run/a", "unix:///run/a")],
)
def test_endpoints(given: str, expected: str) -> None:
    assert normalise_endpoint(given) == expected


@pytest.mark.parametrize("given", ["tcp://1.2.3.4:5", "run/a", "npipe:////./pipe/x"])
def test_wrong_endpoints(given: str) -> None:
    with pytest.raises(InvalidArgument, match="unix:///path"):
        normalise_endpoint(given)
