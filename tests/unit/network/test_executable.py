from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from contract.cni_plugins import PLUGIN_DIRECTORY
from crio.base.errors import InvalidArgument
from crio.network.executable import Executable, find_plugin, standard_release, supported_versions
from crio.network.plugin import PluginFailed, PluginRequest
from loop_clock import pass_seconds
from monitor_bed import is_alive

REQUEST = PluginRequest("ADD", "fake", {"name": "n", "cniVersion": "1.0.0"}, "id", "/ns", "eth0", "A=b")


def _script(path: Path, text: str, mode: int = 0o755) -> str:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(mode)
    return str(path)


def test_the_first_directory_with_an_executable_wins(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for directory in (one, two):
        directory.mkdir()
    _script(one / "a", "", 0o644)
    (one / "b").mkdir()
    for name in "ab":
        _script(two / name, "")
    directories = [str(tmp_path / "none"), str(one), str(two)]
    assert [find_plugin(name, directories) for name in "abc"] == [str(two / "a"), str(two / "b"), None]
    with pytest.raises(InvalidArgument):
        find_plugin("../two/a", [str(one)])


async def test_versions_of_a_real_plug_in() -> None:
    assert "1.0.0" in await supported_versions(f"{PLUGIN_DIRECTORY}/macvlan", [PLUGIN_DIRECTORY])


async def test_the_standard_plug_ins_are_known_by_their_banner(tmp_path: Path) -> None:
    found = await standard_release(f"{PLUGIN_DIRECTORY}/bridge", "bridge", [PLUGIN_DIRECTORY])
    assert found is not None
    assert found[1][-1] == "1.0.0"
    assert await standard_release(f"{PLUGIN_DIRECTORY}/bridge", "portmap", [PLUGIN_DIRECTORY]) is None
    assert await standard_release(_script(tmp_path / "x", "echo CNI x plugin 1 >&2"), "x", []) is None
    assert await standard_release(str(tmp_path / "none"), "none", []) is None


@pytest.mark.parametrize(
    "text", ["exit 1", "echo nonsense", "echo '[]'", 'printf \'{"cniVersion":"\\377","supportedVersions":["\\377"]}\'']
)
async def test_versions_that_can_not_be_understood(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidArgument, match="for its versions"):
        await supported_versions(_script(tmp_path / "x", text), [])


async def test_the_environment_is_what_cni_wants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    monkeypatch.setenv("CNI_ARGS", "FROM=outside")
    path = _script(tmp_path / "fake", f"env > {tmp_path}/env; cat > {tmp_path}/stdin; echo '{{\"dns\": {{}}}}'")
    assert json.loads(await Executable(path, ("/one", "/two")).call(REQUEST, 60)) == {"dns": {}}
    environment = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert {key: value for key, value in environment.items() if key.startswith("CNI_")} == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "id",
        "CNI_NETNS": "/ns",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "A=b",
        "CNI_PATH": "/one:/two",
    }
    assert environment["HTTPS_PROXY"] == "http://proxy"
    assert "NOTIFY_SOCKET" not in environment
    assert json.loads((tmp_path / "stdin").read_text()) == REQUEST.document


@pytest.mark.parametrize(
    ("text", "words", "code"),
    [
        ('echo \'{"code": 7, "msg": "bad", "details": "very"}\'; exit 1', "bad; very", 7),
        ('echo \'{"code": 7, "msg": "bad"}\'; echo log >&2; exit 1', r"bad \(on stderr: log\)", 7),
        ("echo oops >&2; exit 3", "exit code 3: oops", 0),
        ("exit 3", "exit code 3 and no message", 0),
        ("kill -9 $$", "signal 9 and no message", 0),
    ],
)
async def test_a_failure_has_the_plug_ins_words(tmp_path: Path, text: str, words: str, code: int) -> None:
    with pytest.raises(PluginFailed, match=f"cannot run CNI plug-in fake ADD for network n: {words}$") as caught:
        await Executable(_script(tmp_path / "fake", text), ()).call(REQUEST, 60)
    assert (caught.value.plugin, caught.value.verb, caught.value.cni_code) == ("fake", "ADD", code)


async def test_its_children_go_with_a_plug_in_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid_file = tmp_path / "pid"
    path = _script(tmp_path / "fake", f"sleep 1000 & echo $! > {pid_file}.part; mv {pid_file}.part {pid_file}; wait")
    calling = asyncio.create_task(Executable(path, ()).call(REQUEST, 60))
    while not pid_file.exists():
        await asyncio.sleep(0.01)
    pass_seconds(monkeypatch, 61)
    with pytest.raises(PluginFailed, match="did not end within 60 s"):
        await calling
    async with asyncio.timeout(60):
        while is_alive(int(pid_file.read_text())):
            await asyncio.sleep(0.01)


async def test_a_program_that_can_not_start(tmp_path: Path) -> None:
    with pytest.raises(PluginFailed, match="cannot start"):
        await Executable(str(tmp_path / "none"), ()).call(REQUEST, 1)
