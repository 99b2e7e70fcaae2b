from __future__ import annotations

import json
from typing import Any

from crio.api.runtime.v1 import api_pb2 as pb
from fake_cri import FakeCri

Crioctl = Any
POD, WEB, DONE = "1a" * 32, "2c" * 32, "3e" * 32


def test_container(node: FakeCri, crioctl: Crioctl) -> None:
    document = json.loads(crioctl("inspect", "once").out)
    assert list(document) == ["info", "status"]
    assert document["info"] == {"pid": 42, "runtimeSpec": {"a": [1]}}
    status = document["status"]
    assert list(status) == sorted(status)
    assert status["exitCode"] == 3
    assert status["state"] == "CONTAINER_EXITED"
    assert status["finishedAt"].startswith("2023-11-1")
    assert status["user"] is None
    assert status["stopSignal"] == "RUNTIME_DEFAULT"


def test_times_that_are_not_set(node: FakeCri, crioctl: Crioctl) -> None:
    node.add_container("4a" * 32, POD, "fresh", state=pb.CONTAINER_CREATED, created_at=1_500_000_000_000_000_000)
    status = json.loads(crioctl("inspect", "-q", "fresh").out)["status"]
    assert status["createdAt"].startswith("2017-07-14T")
    assert status["startedAt"] == status["finishedAt"] == "0001-01-01T00:00:00Z"


def test_several_are_a_list(node: FakeCri, crioctl: Crioctl) -> None:
    documents = json.loads(crioctl("inspect", "-q", "web", "log").out)
    assert [each["status"]["metadata"]["name"] for each in documents] == ["web", "log"]
    assert [list(each) for each in documents] == [["status"], ["status"]]
    assert len(json.loads(crioctl("inspect", "-a").out)) == 3


def test_field_path_and_template(node: FakeCri, crioctl: Crioctl) -> None:
    assert crioctl("inspect", "-o", "{.info.pid}", "web").out == "42\n"
    assert crioctl("inspect", "-o", "go-template", "--template", "{{.status.metadata.name}}", "2c").out == "web\n"
    assert crioctl("inspect", "-o", "go-template={{.status.state}}", "2c").out == "CONTAINER_RUNNING\n"
    result = crioctl("inspect", "-o", "{.status.nmae}", "web")
    assert result.code == 1
    assert result.err.startswith("crioctl: cannot fill the template: there is no field 'nmae'; it has annotations")


def test_table(node: FakeCri, crioctl: Crioctl) -> None:
    out = crioctl("inspect", "-qo", "table", "once").out.splitlines()
    assert out[:3] == [f"ID: {DONE}", "Name: once", "State: CONTAINER_EXITED"]
    assert out[-1] == "Exit Code: 3"


def test_unknown_format(node: FakeCri, crioctl: Crioctl) -> None:
    result = crioctl("inspect", "-o", "xml", "web")
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert result.err.startswith("crioctl: cannot print as 'xml'")


def test_nothing_to_inspect(cri: FakeCri, crioctl: Crioctl) -> None:
    assert crioctl("inspect").code == crioctl("inspectp").code == crioctl("inspecti").code == 1


def test_pod(node: FakeCri, crioctl: Crioctl) -> None:
    node.pods[POD].network.ip = "10.0.0.7"
    node.pods[POD].network.additional_ips.add(ip="fd00::7")
    document = json.loads(crioctl("inspectp", "shop").out)
    assert document["info"] == {"pid": 7}
    assert document["status"]["network"] == {"additionalIps": [{"ip": "fd00::7"}], "ip": "10.0.0.7"}
    assert document["status"]["linux"] is None
    table = crioctl("inspectp", "-qo", "table", "shop").out
    assert "IP Addresses: 10.0.0.7\nAdditional IP: fd00::7\n" in table


def test_image(node: FakeCri, crioctl: Crioctl) -> None:
    node.images["x"] = pb.Image(id="sha256:" + "ab" * 32, repo_tags=["a:1"], size=4321, uid=pb.Int64Value(value=5))
    document = json.loads(crioctl("inspecti", "a:1").out)
    assert document["status"]["size"] == "4321"
    assert document["status"]["uid"] == {"value": "5"}
    assert document["info"] == {"labels": {"a": "b"}}
    assert crioctl("inspecti", "-qo", "table", "abab").out == f"ID: sha256:{'ab' * 32}\nTag: a:1\nSize: 4.32kB\n"
    result = crioctl("inspecti", "b:1")
    assert result.err == "crioctl: cannot find image 'b:1': it is not in the store; `crioctl pull` fetches it\n"


def test_info(cri: FakeCri, crioctl: Crioctl) -> None:
    cri.answers["Status"] = pb.StatusResponse(
        status=pb.RuntimeStatus(
            conditions=[
                pb.RuntimeCondition(type="RuntimeReady", status=True),
                pb.RuntimeCondition(type="NetworkReady", reason="NetworkPluginNotReady", message="no file in /etc/cni"),
            ]
        ),
        info={"config": '{"sandboxImage": "pause"}', "broken": "{"},
        runtime_handlers=[
            pb.RuntimeHandler(name="crun", features=pb.RuntimeHandlerFeatures(user_namespaces=True)),
            pb.RuntimeHandler(),
        ],
        features=pb.RuntimeFeatures(supplemental_groups_policy=True),
    )
    document = json.loads(crioctl("info").out)
    assert document["config"] == {"sandboxImage": "pause"}
    assert document["broken"] == "{"
    assert document["features"] == {"supplemental_groups_policy": True}
    assert document["runtimeHandlers"] == [{"features": {"user_namespaces": True}, "name": "crun"}, {}]
    assert document["status"]["conditions"][0] == {"message": "", "reason": "", "status": True, "type": "RuntimeReady"}
    assert crioctl("info", "-o", "table").out == (
        "RuntimeReady: yes\nNetworkReady: NO - NetworkPluginNotReady: no file in /etc/cni\n"
        "Handler: crun\nHandler: (default)\n"
    )
    assert [request.verbose for request in cri.requests("Status")] == [True, True]
