"""Control groups of pods that systemd makes: what it is asked for, and what is made of its answers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import cast

import pytest

from crio.base.errors import FailedPrecondition, Internal, Unavailable
from crio.linux.cgroup import CgroupFs
from crio.sandbox import systemd_groups
from crio.sandbox.systemd import Systemd
from crio.sandbox.systemd_groups import SystemdGroups
from crio.wire.dbus import Variant

POD = "/kubepods.slice/kubepods-pod1.slice"


class _Tree:
    """A tree of control groups, as far as systemd's part is concerned."""

    def __init__(self) -> None:
        self.made: list[tuple[str, bool]] = []
        self.slices = {"/"}
        self.members: dict[str, list[int]] = {}

    def exists(self, path: str) -> bool:
        return path in self.slices

    def create(self, path: str, *, hand_down: bool = True) -> None:
        self.made.append((path, hand_down))

    def is_in(self, path: str, pid: int) -> bool:
        return pid in self.members.get(path, [])

    def group_of(self, pid: int) -> str | None:
        return next((path for path, pids in self.members.items() if pid in pids), None)


class _Systemd:
    """Answers each request for a scope with the next of `answers`; with none it makes the scope."""

    def __init__(self, tree: _Tree) -> None:
        self.answers: list[Exception] = []
        self.started: list[str] = []
        self.scopes: list[tuple[str, str, list[int]]] = []
        self.properties: dict[str, Variant] = {}
        self._tree = tree

    async def start(self, unit: str) -> None:
        self.started.append(unit)

    async def start_scope(self, unit: str, slice_name: str, pids: Sequence[int], more: Mapping[str, Variant]) -> None:
        self.scopes.append((unit, slice_name, list(pids)))
        self.properties = dict(more)
        if self.answers:
            raise self.answers.pop(0)
        self._tree.members[f"{POD}/{unit}"] = list(pids)


@pytest.fixture
def tree() -> _Tree:
    return _Tree()


@pytest.fixture
def systemd(tree: _Tree) -> _Systemd:
    return _Systemd(tree)


@pytest.fixture
def groups(tree: _Tree, systemd: _Systemd, monkeypatch: pytest.MonkeyPatch) -> SystemdGroups:
    monkeypatch.setattr(systemd_groups, "systemd_runs", lambda: True)
    return SystemdGroups(cast(CgroupFs, tree), cast(Systemd, systemd))


async def test_a_missing_slice_is_started(groups: SystemdGroups, tree: _Tree, systemd: _Systemd) -> None:
    await groups.make(f"{POD}/crio-a.scope")
    assert systemd.started == ["kubepods-pod1.slice"]
    assert tree.made == [(f"{POD}/crio-a.scope", False)]


async def test_a_slice_that_is_there_is_not_started(groups: SystemdGroups, tree: _Tree, systemd: _Systemd) -> None:
    tree.slices.add(POD)
    await groups.make(f"{POD}/crio-a.scope")
    assert systemd.started == []


async def test_without_systemd_no_group_is_made(
    groups: SystemdGroups, tree: _Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd_groups, "systemd_runs", lambda: False)
    with pytest.raises(FailedPrecondition, match='set cgroup_manager = "cgroupfs"'):
        await groups.make(f"{POD}/crio-a.scope")
    assert tree.made == []


async def test_a_process_gets_a_scope_in_its_slice(groups: SystemdGroups, systemd: _Systemd) -> None:
    await groups.place(f"{POD}/crio-conmon-a.scope", os.getpid(), "monitor")
    assert systemd.scopes == [("crio-conmon-a.scope", "kubepods-pod1.slice", [os.getpid()])]
    assert systemd.properties["KillSignal"].value == 13, "systemd would end a monitor before its container"
    assert systemd.properties["Delegate"].value is True


async def test_a_process_that_is_there_is_left_there(groups: SystemdGroups, tree: _Tree, systemd: _Systemd) -> None:
    tree.members[f"{POD}/a.scope"] = [7]
    await groups.place(f"{POD}/a.scope", 7, "monitor")
    assert systemd.scopes == []


async def test_a_lost_connection_is_tried_once_more(groups: SystemdGroups, systemd: _Systemd) -> None:
    systemd.answers = [Unavailable("gone")]
    await groups.place(f"{POD}/a.scope", 7, "monitor")
    assert len(systemd.scopes) == 2
    systemd.answers = [Unavailable("gone"), Unavailable("gone again")]
    with pytest.raises(Unavailable, match="again"):
        await groups.place(f"{POD}/b.scope", 8, "monitor")


async def test_a_scope_whose_answer_was_lost_is_there(groups: SystemdGroups, tree: _Tree, systemd: _Systemd) -> None:
    async def made_and_refused(unit: str, slice_name: str, pids: Sequence[int], more: Mapping[str, Variant]) -> None:
        tree.members[f"{POD}/a.scope"] = [7]
        raise Internal("the unit exists already")

    systemd.start_scope = made_and_refused  # type: ignore[method-assign]
    await groups.place(f"{POD}/a.scope", 7, "monitor")
    with pytest.raises(Internal, match="exists"):
        await groups.place(f"{POD}/other.scope", 8, "monitor")


async def test_a_process_that_has_ended_needs_none(groups: SystemdGroups, systemd: _Systemd) -> None:
    systemd.answers = [ProcessLookupError()]
    await groups.place(f"{POD}/a.scope", 7, "monitor")
    assert len(systemd.scopes) == 1
