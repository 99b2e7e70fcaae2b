from __future__ import annotations

import json
from typing import Any

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from fake_cri import FakeCri

Crioctl = Any
POD, OLD_POD = "1a" * 32, "1b" * 32


def test_table(node: FakeCri, crioctl: Crioctl) -> None:
    result = crioctl("pods")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == (
        "POD ID              CREATED             STATE               NAME                NAMESPACE           "
        "ATTEMPT             RUNTIME"
    )
    assert lines[1] == (
        "1a1a1a1a1a1a1       3 days ago          Ready               shop                prod                "
        "0                   crun"
    )
    assert lines[2].startswith("1b1b1b1b1b1b1")
    assert lines[2].split()[3:] == ["ago", "NotReady", "job", "default", "2", "(default)"]


def test_quiet_gives_whole_ids_newest_first(node: FakeCri, crioctl: Crioctl) -> None:
    assert crioctl("pods", "-q").out.split() == [POD, OLD_POD]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--name", "^sho"], [POD]),
        (["--namespace", "default"], [OLD_POD]),
        (["--state", "notready"], [OLD_POD]),
        (["-s", "Ready"], [POD]),
        (["--label", "app=shop"], [POD]),
        (["--label", "app=shop,app=shop"], [POD]),
        (["--label", "app=none"], []),
        (["--id", "1b"], [OLD_POD]),
        (["--id", "shop"], [POD]),
        (["--latest"], [POD]),
        (["--last", "1"], [POD]),
        (["-n", "5"], [POD, OLD_POD]),
    ],
)
def test_filters(node: FakeCri, crioctl: Crioctl, options: list[str], expected: list[str]) -> None:
    assert crioctl("pods", "-q", *options).out.split() == expected


def test_state_and_label_are_left_to_the_runtime(node: FakeCri, crioctl: Crioctl) -> None:
    crioctl("pods", "--state", "ready", "--label", "a=b")
    wanted = pb.PodSandboxFilter(state=pb.PodSandboxStateValue(state=pb.SANDBOX_READY), label_selector={"a": "b"})
    assert node.requests("ListPodSandbox") == [pb.ListPodSandboxRequest(filter=wanted)]


def test_json_has_every_field_in_the_order_of_the_definition(node: FakeCri, crioctl: Crioctl) -> None:
    items = json.loads(crioctl("pods", "-o", "json").out)["items"]
    assert list(items[0]) == ["id", "metadata", "state", "createdAt", "labels", "annotations", "runtimeHandler"]
    assert items[0]["metadata"] == {"name": "shop", "uid": "uid-shop", "namespace": "prod", "attempt": 0}
    assert items[0]["state"] == "SANDBOX_READY"
    assert items[0]["createdAt"] == str(node.pods[POD].created_at)


def test_yaml_is_sorted(node: FakeCri, crioctl: Crioctl) -> None:
    text = crioctl("pods", "--name", "job", "-o", "yaml").out
    assert text.startswith('items:\n- annotations: {}\n  createdAt: "1700000000000000000"\n')


def test_field_path(node: FakeCri, crioctl: Crioctl) -> None:
    assert crioctl("pods", "-o", "{.items[*].metadata.name}").out == "shop job\n"


def test_verbose(node: FakeCri, crioctl: Crioctl) -> None:
    out = crioctl("pods", "-v", "--name", "shop").out
    assert "ID: " + POD in out
    assert "UID: uid-shop\nNamespace: prod\nStatus: Ready\n" in out
    assert "Labels:\n\tapp -> shop\n" in out
    assert "Runtime: crun\n" in out


def test_wrong_pattern(node: FakeCri, crioctl: Crioctl) -> None:
    result = crioctl("pods", "--name", "(")
    assert result.code == 1
    assert result.err.startswith("crioctl: cannot use --name '(': not a regular expression")


def test_wrong_state(node: FakeCri, crioctl: Crioctl) -> None:
    result = crioctl("pods", "--state", "running")
    assert result.code == 1
    assert "choose from" in result.err


def test_control_characters_do_not_reach_the_terminal(cri: FakeCri, crioctl: Crioctl) -> None:
    cri.add_pod(POD, "a\x1b[2Jb\nc")
    assert "a?[2Jb?c" in crioctl("pods").out
