from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crio.inject.hooks import HookDirectories, parse
from crio.spec import oci_runtime as oci


def spec(command: str = "/usr/bin/app") -> oci.Spec:
    return oci.Spec(process=oci.Process(user=oci.User(0, 0), args=[command], cwd="/"), root=oci.Root("/r"))


def hook(when: dict[str, Any], path: str = "/bin/true", stages: tuple[str, ...] = ("prestart",)) -> bytes:
    return json.dumps({"version": "1.0.0", "hook": {"path": path}, "when": when, "stages": stages}).encode()


@pytest.mark.parametrize(
    ("when", "matches"),
    [
        ({}, False),
        ({"always": True}, True),
        ({"always": False}, False),
        ({"commands": ["^/usr/bin/"]}, True),
        ({"commands": ["^/opt/"]}, False),
        ({"annotations": {"^a$": "x"}}, True),
        ({"annotations": {"^a$": "y"}}, False),
        ({"annotations": {"^a$": "x"}, "hasBindMounts": True}, False),
        ({"always": True, "commands": ["/opt"]}, False),
    ],
)
def test_conditions_of_version_1(when: dict[str, Any], matches: bool) -> None:
    assert parse(hook(when)).matches("/usr/bin/app", {"a": "x1"}, has_bind_mounts=False) is matches


def test_version_0_needs_one_condition() -> None:
    data = {"hook": "/bin/h", "arguments": ["x"], "stage": ["poststop"], "cmd": ["app"], "annotation": ["nothing"]}
    parsed = parse(json.dumps(data).encode())
    assert parsed.hook.args == ["/bin/h", "x"]
    assert parsed.matches("/usr/bin/app", {}, has_bind_mounts=False)
    assert parsed.matches("/x", {"k": "nothing"}, has_bind_mounts=False)
    assert not parsed.matches("/x", {}, has_bind_mounts=True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"version": "\xff"}',
        b'{"version":' + b"[" * 5000,
        hook({"always": True}, path="relative"),
        hook({"always": True}, stages=("never",)),
        hook({"always": True}, stages=()),
        hook({"commands": ["("]}),
        hook({}).replace(b"1.0.0", b"2.0.0"),
        b'{"hook": "/h", "stage": ["poststop"], "stages": ["poststop"]}',
    ],
)
def test_bad_files(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse(data)


def test_directories(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    (first / "b.json").write_bytes(hook({"always": True}, "/first/b"))
    (first / "a.json").write_bytes(hook({"always": True}, "/first/a", ("poststop", "createContainer")))
    (first / "c.json").write_bytes(b"bad")
    (first / "note.txt").write_bytes(b"bad")
    (second / "b.json").write_bytes(hook({"always": True}, "/second/b"))
    directories = HookDirectories([str(first), str(second), "/nonexistent"])
    made = spec()
    directories.inject(made, {}, has_bind_mounts=False)
    assert made.hooks is not None
    assert [one.path for one in made.hooks.create_runtime] == ["/second/b"]
    assert [one.path for one in made.hooks.poststop] == ["/first/a"]
    assert [one.path for one in made.hooks.create_container] == ["/first/a"]
    (second / "b.json").write_bytes(hook({"always": False}, "/second/b"))
    made = spec()
    directories.inject(made, {}, has_bind_mounts=False)
    assert made.hooks is not None
    assert made.hooks.create_runtime == []
