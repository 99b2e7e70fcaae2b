from __future__ import annotations

import pytest

from crio.spec import annotations as names


def test_newer_spelling_wins() -> None:
    both = {names.UMASK: "1", "io.kubernetes.cri-o.umask": "2"}
    assert names.find(both, names.UMASK) == "1"
    assert names.find({"io.kubernetes.cri-o.umask": "2"}, names.UMASK) == "2"
    assert names.find({}, names.UMASK) is None


def test_of_one_container() -> None:
    given = {
        "unified-cgroup.crio.io/a": "1",
        "io.kubernetes.cri-o.UnifiedCgroup.b": "2",
        "io.kubernetes.cri-o.UnifiedCgroup/c": "3",
        "unified-cgroup.crio.io": "pod",
    }
    assert [names.find_for(given, names.UNIFIED_CGROUP, container) for container in "abcd"] == ["1", "2", "3", None]
    assert [names.find(given, names.UNIFIED_CGROUP, container) for container in "ad"] == ["1", "pod"]


def test_older_spellings_are_fifteen() -> None:
    assert len(names.OLDER) == 15
    assert set(names.OLDER) <= names.FEATURES


@pytest.mark.parametrize(
    ("text", "size"),
    [("4096", 4096), ("64Mi", 64 << 20), ("2G", 2 << 30), (" 1kib ", 1024), ("", None), ("x", None), ("-1", None)],
)
def test_sizes(text: str, size: int | None) -> None:
    assert names.parse_size(text) == size
    assert names.parse_size("9" * 15 + "T") is None
