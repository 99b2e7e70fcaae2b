from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument, NotFound
from crio.cli.crioctl.configfile import load_container, load_pod

POD = {"metadata": {"name": "p", "namespace": "n", "uid": "u"}}
CONTAINER = {"metadata": {"name": "c"}, "image": {"image": "busybox"}}


def pod(tmp_path: Path, text: str | dict[str, Any]) -> pb.PodSandboxConfig:
    path = tmp_path / "pod.yaml"
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return load_pod(str(path))


def container(tmp_path: Path, more: dict[str, Any]) -> pb.ContainerConfig:
    path = tmp_path / "container.json"
    path.write_text(json.dumps(CONTAINER | more))
    return load_container(str(path))


def test_the_example_of_crictls_documentation(tmp_path: Path) -> None:
    config = pod(
        tmp_path,
        """{
            "metadata": {
                "name": "nginx-sandbox", "namespace": "default", "attempt": 1, "uid": "hdishd83djaidwnduwk28bcsb"
            },
            "log_directory": "/tmp",
            "linux": {
            }
        }""",
    )
    assert config == pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(
            name="nginx-sandbox", namespace="default", attempt=1, uid="hdishd83djaidwnduwk28bcsb"
        ),
        log_directory="/tmp",
        linux=pb.LinuxPodSandboxConfig(),
    )
    assert config.HasField("linux")


def test_yaml_with_either_spelling(tmp_path: Path) -> None:
    config = pod(
        tmp_path,
        """
metadata: {name: p, namespace: n, uid: u}
logDirectory: /var/log/pods
port_mappings:
  - {containerPort: 80, host_port: 8080, protocol: UDP}
  - {container_port: "81", protocol: 0}
labels:
  number: 1
  flag: true
linux:
  cgroup_parent: /k
  securityContext:
    NAMESPACE_OPTIONS: {network: 2, pid: CONTAINER}
    run_as_user: {value: 1000}
    run_as_group: 7
    supplemental_groups: [1, 2]
  sysctls: {net.ipv4.ip_forward: "1"}
annotations:
""",
    )
    assert config.log_directory == "/var/log/pods"
    assert config.port_mappings[0] == pb.PortMapping(container_port=80, host_port=8080, protocol=pb.UDP)
    assert config.port_mappings[1].container_port == 81
    assert dict(config.labels) == {"number": "1", "flag": "true"}
    context = config.linux.security_context
    assert context.namespace_options == pb.NamespaceOption(network=pb.NODE, pid=pb.CONTAINER)
    assert (context.run_as_user.value, context.run_as_group.value) == (1000, 7)
    assert list(context.supplemental_groups) == [1, 2]


def test_uid_is_made_up(tmp_path: Path) -> None:
    first, second = (pod(tmp_path, {"metadata": {"name": "p", "namespace": "n"}}).metadata.uid for _ in range(2))
    assert len(first) == 36
    assert first != second


def test_container(tmp_path: Path) -> None:
    config = container(
        tmp_path,
        {
            "command": ["sleep", 5],
            "envs": [{"key": "A", "value": "plain text, not base64"}],
            "mounts": [{"container_path": "/c", "host_path": "/h", "uidMappings": [{"length": 5}]}],
            "CDI_devices": [{"name": "v/c=d"}],
            "stop_signal": "SIGRTMIN",
            "linux": {"resources": {"memory_limit_in_bytes": "9007199254740993", "unified": {"a": "b"}}},
        },
    )
    assert config.image.user_specified_image == "busybox"
    assert list(config.command) == ["sleep", "5"]
    assert config.envs[0].value == b"plain text, not base64"
    assert config.mounts[0].uidMappings[0].length == 5
    assert config.CDI_devices[0].name == "v/c=d"
    assert config.stop_signal == pb.SIGRTMIN
    assert config.linux.resources.memory_limit_in_bytes == 9007199254740993


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"comand": []}, "there is no field comand; did you mean command?"),
        ({"linux": {"security_context": {"runs": 1}}}, "there is no field linux.security_context.runs"),
        ({"xyzzy": 1}, "known here are metadata, image, command"),
        ({"mounts": {"a": 1}}, "mounts holds fields, and should hold a list"),
        ({"mounts": [{"readonly": "yes"}]}, "mounts[0].readonly holds 'yes', and should be true or false"),
        ({"labels": ["a"]}, "labels holds a list, and should hold keys and values"),
        ({"linux": "x"}, "linux holds 'x', and should hold fields"),
        ({"command": "ls"}, "command holds 'ls', and should hold a list"),
        ({"command": [["ls"]]}, "command[0] holds a list, and should hold a text"),
        ({"stop_signal": "SIGFOO"}, "stop_signal is 'SIGFOO', and should be one of RUNTIME_DEFAULT"),
        ({"linux": {"resources": {"cpu_shares": 1.5}}}, "should be a whole number"),
        ({"linux": {"resources": {"cpu_shares": "x"}}}, "should be a number"),
        ({"linux": {"resources": {"cpu_shares": 1 << 63}}}, "not between -9223372036854775808 and"),
        ({"metadata": {"name": "c", "attempt": -1}}, "metadata.attempt is -1, which is not between 0 and 4294967295"),
        ({"metadata": {"name": ""}}, "metadata.name is not set"),
        ({"image": {}}, "image.image is not set"),
    ],
)
def test_mistakes_in_containers(tmp_path: Path, more: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        container(tmp_path, more)
    assert reason in caught.value.message
    assert str(tmp_path) in caught.value.message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "metadata is not set"),
        ('{"metadata": {"name": "p"}}', "needs a name and a namespace"),
        ('{"metadata": {"name": "p", }', "Expecting property name"),
        ("a: b: c", "mapping values are not allowed"),
        ("[1]", "the file holds a list, and should hold fields"),
        ("", "the file holds None"),
    ],
)
def test_mistakes_in_pods(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        pod(tmp_path, text)
    assert reason in caught.value.message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        load_pod(str(tmp_path / "none"))
    with pytest.raises(InvalidArgument, match="Is a directory"):
        load_pod(str(tmp_path))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\0")
    with pytest.raises(InvalidArgument, match="not UTF-8"):
        load_container(str(tmp_path / "binary"))
    (tmp_path / "large").write_bytes(b" " * (5 << 20))
    with pytest.raises(InvalidArgument, match="longer than"):
        load_container(str(tmp_path / "large"))
