"""What the CRI allows of a pod's user namespace."""

from __future__ import annotations

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.sandbox.user_namespace import IdMaps, check_same, id_maps
from crio.spec.oci_runtime import IdMapping

RUN = {"host_id": 100_000, "container_id": 0, "length": 65536}


def options(
    uids: list[dict[str, int]] | None = None,
    gids: list[dict[str, int]] | None = None,
    mode: pb.NamespaceMode.ValueType = pb.POD,
    **kinds: int,
) -> pb.NamespaceOption:
    made = pb.NamespaceOption(**kinds)  # type: ignore[arg-type]
    made.userns_options.mode = mode
    made.userns_options.uids.extend(pb.IDMapping(**run) for run in ([RUN] if uids is None else uids))
    made.userns_options.gids.extend(pb.IDMapping(**run) for run in ([RUN] if gids is None else gids))
    return made


def test_one_run_each() -> None:
    maps = id_maps(options(gids=[{**RUN, "host_id": 300_000}]))
    assert maps == IdMaps([IdMapping(0, 100_000, 65536)], [IdMapping(0, 300_000, 65536)])
    assert maps.root == (100_000, 300_000)


def test_that_of_the_host() -> None:
    none = IdMaps([], [])
    assert id_maps(pb.NamespaceOption()) == none
    assert id_maps(options([], [], mode=pb.NODE)) == none
    assert none.root == (0, 0)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (options([], []), "uids must have one mapping"),
        (options([RUN, RUN]), "uids must have one mapping, and has 2"),
        (options(gids=[]), "gids must have one mapping"),
        (options(mode=pb.NODE), "mode NODE takes no mappings"),
        (options(mode=pb.CONTAINER), "mode must be POD or NODE"),
        (options([{**RUN, "container_id": 1}]), "must begin at the container's id 0"),
        (options([{**RUN, "length": 0}]), "leaves the range"),
        (options([{**RUN, "host_id": (1 << 32) - 65536}]), "leaves the range"),
        (options([{**RUN, "length": 65535}]), "same length"),
        (options(pid=pb.NODE), "PID namespace"),
        (options(ipc=pb.NODE), "IPC namespace"),
    ],
)
def test_refused(given: pb.NamespaceOption, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        id_maps(given)


def test_the_lowest_ids_of_the_configuration() -> None:
    id_maps(options(), lowest_uid=100_000, lowest_gid=100_000)
    with pytest.raises(InvalidArgument, match="uids begins below 100001"):
        id_maps(options(), lowest_uid=100_001)
    with pytest.raises(InvalidArgument, match="gids begins below 100001"):
        id_maps(options(), lowest_gid=100_001)


def test_containers_have_that_of_their_pod() -> None:
    pod = options()
    check_same(pod, options())
    check_same(pod, pb.NamespaceOption())
    check_same(pb.NamespaceOption(), options([], [], mode=pb.NODE))
    with pytest.raises(InvalidArgument, match="not that of its pod"):
        check_same(pod, options([{**RUN, "host_id": 200_000}]))
    with pytest.raises(InvalidArgument, match="not that of its pod"):
        check_same(pb.NamespaceOption(), options())


def test_the_last_id_that_is_user_and_group() -> None:
    assert id_maps(options()).last == 65535
    uids = [IdMapping(0, 100_000, 10), IdMapping(50, 200_000, 10)]
    assert IdMaps(uids, [IdMapping(0, 100_000, 56)]).last == 55
    assert IdMaps(uids, [IdMapping(0, 100_000, 20)]).last == 9
