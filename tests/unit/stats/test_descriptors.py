"""The table of pod metrics."""

from __future__ import annotations

from collections import Counter

from crio.stats.descriptors import BASE_LABELS, DESCRIPTORS, chosen


def test_there_are_56_in_the_known_groups() -> None:
    assert len(DESCRIPTORS) == 56
    assert Counter(each.group for each in DESCRIPTORS.values()) == {
        "always": 1,
        "cpu": 6,
        "disk": 4,
        "diskIO": 5,
        "hugetlb": 2,
        "memory": 10,
        "network": 8,
        "oom": 1,
        "process": 6,
        "spec": 7,
        "pressure": 6,
    }


def test_groups_are_chosen() -> None:
    assert [each.name for each in chosen([])] == ["container_last_seen"]
    assert {each.group for each in chosen(["cpu", "oom"])} == {"always", "cpu", "oom"}
    assert len(chosen(["all"])) == 56


def test_labels_of_a_message() -> None:
    message = DESCRIPTORS["container_cpu_usage_seconds_total"].message()
    assert list(message.label_keys) == [*BASE_LABELS, "cpu"]
    assert message.help
