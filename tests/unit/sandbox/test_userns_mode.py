"""User namespaces by annotation: what a text means, and that no two pods get the same ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from crio.sandbox.user_namespace import IdMaps
from crio.sandbox.userns_mode import annotated_maps
from crio.spec.oci_runtime import IdMapping

NEWER, OLDER = "userns-mode.crio.io", "io.kubernetes.cri-o.userns-mode"


def context(user: int = 1000, group: int = 1001) -> pb.LinuxSandboxSecurityContext:
    made = pb.LinuxSandboxSecurityContext()
    made.namespace_options.pid = pb.CONTAINER
    made.run_as_user.value, made.run_as_group.value = user, group
    return made


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    for name in ("subuid", "subgid"):
        (tmp_path / name).write_text("# none\nsomebody:1:5\ncontainers:100000:100\ncontainers:200000:131072\n")
    return str(tmp_path / "subuid"), str(tmp_path / "subgid")


def maps(text: str, files: tuple[str, str], *taken: IdMaps, **lowest: int) -> IdMaps:
    found = annotated_maps({OLDER: text}, context(), taken, files=files, **lowest)
    assert found is not None
    return found


def test_none_is_asked_for(files: tuple[str, str]) -> None:
    for given in ({}, {NEWER: "host"}, {NEWER: ""}, {NEWER: "host", OLDER: "auto"}):
        assert annotated_maps(given, context(), (), files=("/nowhere", "/nowhere")) is None


def test_every_pod_gets_ids_of_its_own(files: tuple[str, str]) -> None:
    first = maps("auto:size=60", files)
    assert first == IdMaps([IdMapping(0, 100_000, 60)], [IdMapping(0, 100_000, 60)])
    second = maps("auto:size=60", files, first)
    assert second.uids == [IdMapping(0, 200_000, 60)]
    third = maps("auto:size=40", files, second, first)
    assert third.root == (100_060, 100_060)
    assert maps("private", files, third, second, first).uids == [IdMapping(0, 200_060, 65536)]
    with pytest.raises(ResourceExhausted, match="not 65536 free"):
        maps("auto", files, maps("auto", files), IdMaps([IdMapping(0, 270_000, 1)], []))


def test_a_user_that_keeps_its_number_or_is_root(files: tuple[str, str]) -> None:
    kept = maps("auto:size=2000;keep-id=true", files)
    assert kept.uids == [IdMapping(0, 200_000, 1000), IdMapping(1000, 1000, 1), IdMapping(1001, 201_000, 999)]
    assert IdMapping(1001, 1001, 1) in kept.gids
    root = maps("auto:size=50;map-to-root=true", files)
    assert root.uids == [IdMapping(0, 1000, 1), IdMapping(1, 100_000, 49)]
    assert root.root == (1000, 1001)


def test_given_ids(files: tuple[str, str]) -> None:
    given = maps("private:uidmapping=0:5000:10,10:7000:5;gidmapping=0:6000:10", files)
    assert given == IdMaps([IdMapping(0, 5000, 10), IdMapping(10, 7000, 5)], [IdMapping(0, 6000, 10)])
    assert maps("private:uidmapping=0:5000:10", files).gids == [IdMapping(0, 5000, 10)]
    assert maps("auto:size=20;uidmapping=5:9000:1", files).uids[1] == IdMapping(5, 9000, 1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("maybe", "the modes are"),
        ("maybe:size=1", "'size=1' is not known"),
        ("auto:size", "'size' is not known"),
        ("auto:size=", "no number"),
        ("auto:size=-1", "no number"),
        ("auto:size=99999999999", "no number"),
        ("private:size=1", "not known"),
        ("auto:keep-id=yes", "true or false"),
        ("private:uidmapping=0:1000", "CONTAINER:HOST:SIZE"),
        ("private:uidmapping=" + ",".join(["0:1:1"] * 65), "CONTAINER:HOST:SIZE"),
        ("private:uidmapping=1:1000:10", "root has no place"),
        ("private:uidmapping=0:1000:0", "root has no place"),
        ("private:uidmapping=0:1000:10,5:2000:10", "mapped twice"),
        ("private:uidmapping=0:1000:4294967296", "leaves the range"),
        ("private:uidmapping=0:4294967295:1", "leaves the range"),
        ("private:uidmapping=0:0:10", "below 1,"),
    ],
)
def test_refused(text: str, reason: str, files: tuple[str, str]) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        maps(text, files)


def test_the_lowest_ids_of_the_configuration(files: tuple[str, str]) -> None:
    maps("private:uidmapping=0:5000:10", files, lowest_uid=5000, lowest_gid=5000)
    with pytest.raises(InvalidArgument, match="5000 of the host is below 5001"):
        maps("private:uidmapping=0:5000:10", files, lowest_gid=5001)


def test_a_node_that_has_set_nothing_aside(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="sets no ids aside for user containers; add a line"):
        maps("auto", (str(tmp_path / "none"), str(tmp_path / "none")))
    shared = context()
    shared.namespace_options.pid = pb.NODE
    with pytest.raises(InvalidArgument, match="PID namespace"):
        annotated_maps({NEWER: "auto"}, shared, ())
