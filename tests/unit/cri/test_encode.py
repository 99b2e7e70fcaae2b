"""Our objects as the CRI's messages."""

from __future__ import annotations

import json

from crio.api.runtime.v1 import api_pb2 as pb
from crio.conmon.exitrecord import ExitRecord
from crio.container.record import ContainerUser
from crio.cri import encode
from crio.image.records import ImageInfo
from small_node import make_container, make_sandbox


def make_image(user: str = "1000:5", repo_digests: tuple[str, ...] = ("q.io/a@sha256:" + "1" * 64,)) -> ImageInfo:
    document = json.dumps({"config": {"User": user}, "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    return ImageInfo(
        id="ab" * 32,
        names=("q.io/a:1", "q.io/a:2"),
        repo_digests=repo_digests,
        digest="sha256:" + "1" * 64,
        size=12345,
        created="2024-01-01T00:00:00Z",
        pinned=True,
        read=lambda key: document,
        config_key=lambda: "config",
    )


ENDED = ExitRecord(0, finished_at_ns=99)


def test_a_ready_sandbox() -> None:
    item = make_sandbox(1, labels={"app": "web"}, ips=["10.0.0.2", "fd00::2"], runtime_handler="runc")
    (short,) = pb.ListPodSandboxResponse.FromString(encode.listed_sandbox(item)).items
    status = encode.sandbox_status(item)
    assert (short.id, short.state, short.created_at) == ("01" * 32, pb.SANDBOX_READY, 1001)
    assert (short.metadata.name, dict(short.labels), short.runtime_handler) == ("pod1", {"app": "web"}, "runc")
    assert dict(status.annotations) == {"note": "kept"}
    assert (status.network.ip, [ip.ip for ip in status.network.additional_ips]) == ("10.0.0.2", ["fd00::2"])


def test_no_address_once_stopped_or_with_the_hosts_network() -> None:
    stopped = encode.sandbox_status(make_sandbox(1, ips=["10.0.0.2"], stopped_at=7))
    assert (stopped.state, stopped.network.ip) == (pb.SANDBOX_NOTREADY, "")
    shared = encode.sandbox_status(make_sandbox(1, ips=["10.0.0.2"], host_network=True))
    assert shared.network.ip == ""
    assert shared.linux.namespaces.options.network == pb.NODE


def test_an_ended_container() -> None:
    mount = pb.Mount(container_path="/data", host_path="/srv", readonly=True)
    item = make_container(
        0xC1,
        labels={"a": "b"},
        ended=ExitRecord(137, signal=9, oom_killed=True, finished_at_ns=99),
        started_at=50,
        image_name="q.io/a:1",
        image_id="ab" * 32,
        image_digest="q.io/a@sha256:1",
        log_path="/logs/c.log",
        user=ContainerUser(1000, 5, (5, 6)),
        stop_signal_value=pb.SIGUSR1,
        mounts=[mount.SerializeToString()],
        resources=pb.LinuxContainerResources(cpu_shares=512).SerializeToString(),
    )
    status = encode.container_status(item)
    assert (status.state, status.exit_code, status.reason) == (pb.CONTAINER_EXITED, 137, "OOMKilled")
    assert (status.created_at, status.started_at, status.finished_at) == (2000 + 0xC1, 50, 99)
    assert (status.image.image, status.image.user_specified_image) == ("q.io/a:1", "busybox:latest")
    assert (status.image_id, status.image_ref) == ("ab" * 32, "q.io/a@sha256:1")
    assert list(status.mounts) == [mount]
    assert status.resources.linux.cpu_shares == 512
    user = status.user.linux
    assert (user.uid, user.gid, list(user.supplemental_groups)) == (1000, 5, [5, 6])
    assert (status.stop_signal, status.log_path) == (pb.SIGUSR1, "/logs/c.log")


def test_a_container_in_a_list() -> None:
    item = make_container(0xC1, 7, started_at=50)
    (short,) = pb.ListContainersResponse.FromString(encode.listed_container(item)).containers
    assert (short.id, short.pod_sandbox_id, short.state) == ("c1" * 32, "07" * 32, pb.CONTAINER_RUNNING)
    assert short.metadata.name == f"c{0xC1}"


def test_a_list_tells_the_state_of_now() -> None:
    item, pod = make_container(0xC1), make_sandbox(1)

    def told() -> list[int]:
        field = encode.listed_container(item)
        assert encode.listed_container(item) is field
        return [short.state for short in pb.ListContainersResponse.FromString(field).containers]

    assert told() == [pb.CONTAINER_CREATED]
    item.record.started_at = 5
    assert told() == [pb.CONTAINER_RUNNING]
    item.exit = ENDED
    assert told() == [pb.CONTAINER_EXITED]
    before = encode.listed_sandbox(pod)
    assert encode.listed_sandbox(pod) is before
    pod.record.stopped_at = 7
    (stopped,) = pb.ListPodSandboxResponse.FromString(encode.listed_sandbox(pod)).items
    assert stopped.state == pb.SANDBOX_NOTREADY


def test_an_image() -> None:
    message = encode.image(make_image())
    assert (message.id, list(message.repo_tags)) == ("ab" * 32, ["q.io/a:1", "q.io/a:2"])
    assert (message.size, message.pinned) == (12345, True)
    assert message.spec.image == message.repo_digests[0]
    assert (message.HasField("uid"), message.uid.value, message.username) == (True, 1000, "")


def test_an_image_with_a_users_name_and_without_digest() -> None:
    message = encode.image(make_image("www", ()))
    assert (message.HasField("uid"), message.username, message.spec.image) == (False, "www", "ab" * 32)


def test_root_is_a_number_too() -> None:
    message = encode.image(make_image("0"))
    assert message.HasField("uid")
    assert message.uid.value == 0
