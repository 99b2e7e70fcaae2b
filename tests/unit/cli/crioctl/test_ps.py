from __future__ import annotations

import json
from typing import Any

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from fake_cri import FakeCri

Crioctl = Any
WEB, SIDECAR, DONE = "2c" * 32, "2d" * 32, "3e" * 32


def test_table_of_running_ones(node: FakeCri, crioctl: Crioctl) -> None:
    lines = crioctl("ps", "--name", "web").out.splitlines()
    assert lines == [
        "CONTAINER           IMAGE               CREATED             STATE               NAME                "
        "ATTEMPT             POD ID              POD                 NAMESPACE",
        "2c2c2c2c2c2c2       quay.io/app/web:1   About an hour ago   Running             web                 "
        "0                   1a1a1a1a1a1a1       shop                prod",
    ]


def test_image_ids_are_shortened_and_pods_are_named_without_labels(node: FakeCri, crioctl: Crioctl) -> None:
    rows = [line.split() for line in crioctl("ps", "-a").out.splitlines()]
    by_name = {row[-5]: row for row in rows[1:]}
    assert by_name["log"][1] == "abababababab" + "a"
    assert by_name["once"][-2:] == ["job", "default"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {WEB, SIDECAR}),
        (["-a"], {WEB, SIDECAR, DONE}),
        (["--state", "exited"], {DONE}),
        (["-s", "Running"], {WEB, SIDECAR}),
        (["--name", "o"], {SIDECAR}),
        (["--namespace", "prod"], {WEB, SIDECAR}),
        (["--pod", "shop"], {WEB, SIDECAR}),
        (["-p", "1b", "-a"], {DONE}),
        (["-p", "nosuchpod", "-a"], set()),
        (["--id", "2c"], {WEB}),
        (["--id", "log"], {SIDECAR}),
        (["--label", "io.kubernetes.pod.name=shop"], {WEB, SIDECAR}),
        (["--last", "3"], {WEB, SIDECAR, DONE}),
        (["--latest", "--name", "once"], {DONE}),
    ],
)
def test_filters(node: FakeCri, crioctl: Crioctl, options: list[str], expected: set[str]) -> None:
    assert set(crioctl("ps", "-q", *options).out.split()) == expected


def test_image_filter_compares_images_not_names(node: FakeCri, crioctl: Crioctl) -> None:
    node.images["x"] = pb.Image(id="sha256:" + "ab" * 32, repo_tags=["quay.io/app/web:1"])
    assert set(crioctl("ps", "-q", "--image", "quay.io/app/web:1").out.split()) == {WEB, SIDECAR}
    assert crioctl("ps", "-q", "--image", "other").out == ""


def test_image_path(node: FakeCri, crioctl: Crioctl) -> None:
    node.images["x"] = pb.Image(id="sha256:" + "ab" * 32, repo_tags=["quay.io/app/web:1"])
    assert crioctl("ps", "-r").out.count("quay.io/app/web:1") == 2


def test_no_trunc(node: FakeCri, crioctl: Crioctl) -> None:
    assert WEB in crioctl("ps", "--no-trunc").out


def test_json(node: FakeCri, crioctl: Crioctl) -> None:
    (web,) = json.loads(crioctl("ps", "--name", "web", "-o", "json").out)["containers"]
    assert web["podSandboxId"] == "1a" * 32
    assert web["image"] == {
        "image": "quay.io/app/web:1",
        "annotations": {},
        "userSpecifiedImage": "",
        "runtimeHandler": "",
        "imageRef": "",
    }
    assert web["state"] == "CONTAINER_RUNNING"


def test_verbose(node: FakeCri, crioctl: Crioctl) -> None:
    out = crioctl("ps", "-v", "--name", "web").out
    assert f"ID: {WEB}\nPodID: {'1a' * 32}\nNamespace: prod\nName: web\nAttempt: 0\nState: Running\n" in out
