from __future__ import annotations

from typing import Any

import pytest

from fake_cri import FakeCri

Crioctl = Any
POD, OLD_POD = "1a" * 32, "1b" * 32
WEB, SIDECAR, DONE = "2c" * 32, "2d" * 32, "3e" * 32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (WEB, WEB),
        ("2c2c", WEB),
        ("2c", WEB),
        ("web", WEB),
        ("shop/web", WEB),
        ("prod/shop/web", WEB),
        ("job/once", DONE),
        ("once", DONE),
    ],
)
def test_a_container_by_any_name(node: FakeCri, crioctl: Crioctl, text: str, expected: str) -> None:
    assert crioctl("stop", text).out.strip() == expected
    assert node.requests("StopContainer")[-1].container_id == expected


@pytest.mark.parametrize("text", [POD, "1a", "shop", "prod/shop"])
def test_a_pod_by_any_name(node: FakeCri, crioctl: Crioctl, text: str) -> None:
    assert crioctl("stopp", text).out == f"Stopped sandbox {POD}\n"


def test_a_whole_id_is_not_looked_up(node: FakeCri, crioctl: Crioctl) -> None:
    crioctl("stop", WEB)
    assert [name for name, _ in node.calls] == ["StopContainer"]


def test_several_ids_cost_one_look(node: FakeCri, crioctl: Crioctl) -> None:
    crioctl("stop", "web", "log", "2c")
    assert [name for name, _ in node.calls].count("ListContainers") == 1


def test_unknown(node: FakeCri, crioctl: Crioctl) -> None:
    result = crioctl("stop", "nope")
    assert result.code == 1
    assert result.err == "crioctl: cannot find container 'nope': no id starts with it and no name is equal to it\n"
    assert crioctl("stopp", "other/shop").err.startswith("crioctl: cannot find pod 'other/shop'")


def test_empty(node: FakeCri, crioctl: Crioctl) -> None:
    assert crioctl("stop", "").err == "crioctl: cannot look up container: the id is empty\n"


def test_ambiguous(node: FakeCri, crioctl: Crioctl) -> None:
    node.add_pod("4f" * 32, "shop", namespace="test")
    node.add_container("5f" * 32, "4f" * 32, "web")
    result = crioctl("stop", "web")
    assert result.code == 1
    assert result.err.startswith("crioctl: cannot tell which container is meant by 'web': it may be 2c2c2c2c2c2c2")
    assert crioctl("stop", "test/shop/web").out.strip() == "5f" * 32


def test_ambiguous_id(node: FakeCri, crioctl: Crioctl) -> None:
    assert "cannot tell which container is meant by '2'" in crioctl("rm", "2").err


def test_the_running_one_goes_before_ended_ones(node: FakeCri, crioctl: Crioctl) -> None:
    node.add_container("6f" * 32, POD, "web", state=2)
    assert crioctl("stop", "web").out.strip() == WEB


def test_the_last_attempt_goes_before_older_ones(node: FakeCri, crioctl: Crioctl) -> None:
    node.add_container("6f" * 32, OLD_POD, "once", state=2, attempt=1)
    assert crioctl("rm", "once").out.strip() == "6f" * 32


def test_an_id_goes_before_a_name(node: FakeCri, crioctl: Crioctl) -> None:
    node.add_container("7f" * 32, POD, "2c")
    assert crioctl("stop", "2c").out.strip() == WEB
