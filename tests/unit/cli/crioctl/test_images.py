from __future__ import annotations

import json
from typing import Any

import pytest

from crio.api.crio.v1 import control_pb2
from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import NotFound, Unavailable
from crio.cli.crioctl.progress import bar_line
from fake_cri import FakeCri

Crioctl = Any
ONE, TWO, THREE = ("sha256:" + digit * 64 for digit in "123")


@pytest.fixture
def store(cri: FakeCri) -> FakeCri:
    cri.images["1"] = pb.Image(
        id=ONE, repo_tags=["quay.io/b:1", "quay.io/b:2"], repo_digests=[f"quay.io/b@{TWO}"], size=5_000_000
    )
    cri.images["2"] = pb.Image(id=TWO, repo_digests=[f"docker.io/library/a@{ONE}"], size=742_000, pinned=True)
    cri.images["3"] = pb.Image(id=THREE, size=1)
    return cri


def test_table(store: FakeCri, crioctl: Crioctl) -> None:
    assert crioctl("images").out.splitlines() == [
        "IMAGE                 TAG                 IMAGE ID            SIZE",
        "docker.io/library/a   <none>              2222222222222       742kB",
        "quay.io/b             1                   1111111111111       5MB",
        "quay.io/b             2                   1111111111111       5MB",
        "<none>                <none>              3333333333333       1B",
    ]


def test_more_columns(store: FakeCri, crioctl: Crioctl) -> None:
    lines = crioctl("img", "--digests", "--pinned", "--no-trunc", "docker.io/library/a@" + ONE).out.splitlines()
    assert [line.split() for line in lines] == [
        ["IMAGE", "TAG", "DIGEST", "IMAGE", "ID", "SIZE", "PINNED"],
        ["docker.io/library/a", "<none>", ONE, TWO, "742kB", "true"],
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], [TWO, ONE, THREE]),
        (["quay.io/b:2"], [ONE]),
        (["--filter", "dangling=true"], [TWO, THREE]),
        (["-f", "dangling=false"], [ONE]),
        (["-f", "reference=quay"], [ONE]),
        (["-f", "before=quay.io/b:1"], [THREE]),
        (["-f", "since=quay.io/b:2"], [TWO]),
        (["-f", "since=3333"], [TWO, ONE]),
        (["-f", "since=3333", "-f", "dangling=true"], [TWO]),
    ],
)
def test_filters(store: FakeCri, crioctl: Crioctl, options: list[str], expected: list[str]) -> None:
    assert crioctl("images", "-q", *options).out.split() == expected


@pytest.mark.parametrize("text", ["size=5", "dangling=maybe", "reference=(", "before=nothing", "dangling"])
def test_wrong_filters(store: FakeCri, crioctl: Crioctl, text: str) -> None:
    result = crioctl("images", "-f", text)
    assert (result.code, result.err.count("\n")) == (1, 1)


def test_verbose_and_json(store: FakeCri, crioctl: Crioctl) -> None:
    assert (
        f"ID: {TWO}\nRepoDigests: docker.io/library/a@{ONE}\nSize: 742000\nPinned: true\n"
        in crioctl("images", "-v").out
    )
    document = json.loads(crioctl("images", "-o", "json", "quay.io/b:1").out)
    assert document["images"][0]["repoTags"] == ["quay.io/b:1", "quay.io/b:2"]


def test_pull_through_control(cri: FakeCri, crioctl: Crioctl) -> None:
    cri.answers["Pull"] = [
        control_pb2.PullProgress(stage="fetch", layers=[control_pb2.LayerProgress(digest=ONE, size=10, done=5)]),
        control_pb2.PullProgress(image_id=TWO, names=["a:1"]),
    ]
    result = crioctl("pull", "--creds", "user:pass:word", "a:1")
    assert (result.code, result.out, result.err) == (0, f"Image is up to date for {TWO}\n", "")
    assert cri.requests("Pull") == [control_pb2.PullRequest(image="a:1", username="user", password="pass:word")]


def test_pull_from_a_runtime_without_control(cri: FakeCri, crioctl: Crioctl) -> None:
    cri.answers["PullImage"] = pb.PullImageResponse(image_ref=ONE)
    assert crioctl("pull", "--auth", "dTpw", "a:1").out == f"Image is up to date for {ONE}\n"
    request = pb.PullImageRequest(image=pb.ImageSpec(image="a:1"), auth=pb.AuthConfig(auth="dTpw"))
    assert cri.requests("PullImage") == [request]


def test_pull_with_credentials_in_variables(cri: FakeCri, crioctl: Crioctl, monkeypatch: pytest.MonkeyPatch) -> None:
    cri.answers["Pull"] = [control_pb2.PullProgress(image_id=TWO)]
    monkeypatch.setenv("CRICTL_CREDS", "user:pass")
    assert crioctl("pull", "a:1").code == 0
    assert cri.requests("Pull") == [control_pb2.PullRequest(image="a:1", username="user", password="pass")]
    monkeypatch.delenv("CRICTL_CREDS")
    monkeypatch.setenv("CRICTL_AUTH", "dTpw")
    assert crioctl("pull", "a:1").code == 0
    assert cri.requests("Pull")[1] == control_pb2.PullRequest(image="a:1", auth="dTpw")
    monkeypatch.setenv("CRICTL_PULL_TIMEOUT", "soon")
    result = crioctl("pull", "a:1")
    assert result.code == 1
    assert "'soon' is not a duration" in result.err


def test_pull_with_annotations_goes_the_plain_way(cri: FakeCri, crioctl: Crioctl) -> None:
    cri.answers["PullImage"] = pb.PullImageResponse(image_ref=ONE)
    crioctl("pull", "-a", "k=v=w", "a:1")
    assert dict(cri.requests("PullImage")[0].image.annotations) == {"k": "v=w"}


def test_a_pull_that_fails(cri: FakeCri, crioctl: Crioctl) -> None:
    cri.answers["Pull"] = [control_pb2.PullProgress(stage="fetch"), Unavailable("RegistryUnavailable: cannot pull a:1")]
    result = crioctl("pull", "a:1")
    assert (result.code, result.out, result.err) == (1, "", "crioctl: RegistryUnavailable: cannot pull a:1\n")


@pytest.mark.parametrize("options", [["--creds", "a:b", "--auth", "c"], ["--creds", ":b"], ["--pull-timeout", "-1s"]])
def test_pull_used_wrongly(cri: FakeCri, crioctl: Crioctl, options: list[str]) -> None:
    assert crioctl("pull", *options, "a:1").code == 1
    assert not cri.calls


def test_load(cri: FakeCri, crioctl: Crioctl) -> None:
    cri.answers["Load"] = [control_pb2.PullProgress(image_id=ONE, names=["localhost/x:1"])]
    assert crioctl("load", "--name", "x:1", "/some/archive.tar").out == f"Loaded localhost/x:1 ({ONE})\n"
    assert cri.requests("Load") == [control_pb2.LoadRequest(path="/some/archive.tar", names=["x:1"])]


def test_pulls(cri: FakeCri, crioctl: Crioctl) -> None:
    cri.answers["ListPulls"] = control_pb2.ListPullsResponse(
        pulls=[
            control_pb2.PullStatus(
                image="a:1",
                stage="fetch",
                bytes_done=500,
                bytes_total=2000,
                waiters=2,
                started_at=1,
                bytes_per_second=250,
                namespace="team",
            )
        ]
    )
    columns = crioctl("pulls").out.splitlines()[1].split()
    assert columns[:4] == ["a:1", "fetch", "500B/2kB", "250B/s"]
    assert columns[-2:] == ["2", "team"]


def test_rmi(store: FakeCri, crioctl: Crioctl) -> None:
    result = crioctl("rmi", "quay.io/b:1")
    assert result.out == "Deleted: quay.io/b:1\nDeleted: quay.io/b:2\n"
    assert result.err == "crioctl: quay.io/b:1 has more names, which go too: quay.io/b:1, quay.io/b:2\n"
    result = crioctl("rmi", "quay.io/b:1")
    assert result.err == "crioctl: cannot remove image 'quay.io/b:1': there is none with this name or id\n"


def test_prune_keeps_pinned_and_used_ones(store: FakeCri, crioctl: Crioctl) -> None:
    store.add_container("2c" * 32, "1a" * 32, "web", image="quay.io/b:2", image_id=ONE)
    assert crioctl("rmi", "--prune").out == f"Deleted: {THREE}\n"
    assert set(store.images) == {"1", "2"}
    assert crioctl("rmi", "--prune").out == "No images to remove\n"


def test_remove_all(store: FakeCri, crioctl: Crioctl) -> None:
    assert crioctl("rmi", "-a").code == 0
    assert not store.images
    assert crioctl("rmi").code == 1


def test_file_system(cri: FakeCri, crioctl: Crioctl) -> None:
    usage = pb.FilesystemUsage(
        timestamp=5,
        fs_id=pb.FilesystemIdentifier(mountpoint="/var/lib/containers"),
        used_bytes=pb.UInt64Value(value=1_500_000),
        inodes_used=pb.UInt64Value(value=7),
    )
    cri.answers["ImageFsInfo"] = pb.ImageFsInfoResponse(image_filesystems=[usage])
    document = json.loads(crioctl("imagefsinfo").out)
    assert document["status"]["imageFilesystems"][0]["usedBytes"] == {"value": "1500000"}
    assert crioctl("imagefsinfo", "-o", "table").out == (
        "Container Filesystem \nImage Filesystem \nTimeStamp[0]: 5\nDisk[0]: 1.5MB\nInodes[0]: 7\n"
        "Mountpoint[0]: /var/lib/containers\n"
    )


def test_not_found_is_told_once(cri: FakeCri, crioctl: Crioctl) -> None:
    cri.answers["Pull"] = [NotFound("cannot pull a:1: it does not exist")]
    assert crioctl("pull", "a:1").err == "crioctl: cannot pull a:1: it does not exist\n"


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ({"size": 100, "done": 50, "state": "fetching"}, "[===============>              ]        50B/100B fetching"),
        ({"size": 100, "done": 100, "state": "unpacking"}, f"[{'=' * 30}]       100B/100B unpacking"),
        ({"size": 100, "state": "exists"}, f"[{'=' * 30}]       100B/100B have it"),
        ({"done": 1500, "state": "fetching"}, f"[>{' ' * 29}]           1.5kB fetching"),
        ({"size": 100, "state": "waiting"}, f"[{' ' * 30}]         0B/100B waiting"),
    ],
)
def test_bars(layer: dict[str, Any], expected: str) -> None:
    assert bar_line(control_pb2.LayerProgress(digest=ONE, **layer)) == f"1111111111111 {expected}"
