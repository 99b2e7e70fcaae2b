from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.container.specgen.input import ImageMount
from crio.container.specgen.plan import MakeHostDirectory, MapOwners, Notes, Relabel
from crio.container.specgen.volumes import ImageVolumeMountFailed, Volumes, VolumeSettings, depth, volumes


def made(
    *requests: pb.Mount,
    notes: Notes | None = None,
    images: dict[str, ImageMount] | None = None,
    **settings: Any,
) -> Volumes:
    return volumes(requests, images or {}, VolumeSettings(**settings), notes or Notes())


def asked(path: Path | str, **fields: Any) -> pb.Mount:
    return pb.Mount(container_path="/data", host_path=str(path), **fields)


def test_plain(tmp_path: Path) -> None:
    result = made(asked(tmp_path), asked(tmp_path, readonly=True))
    assert result.mounts[0].options == ["rbind", "rprivate", "rw"]
    assert result.mounts[1].options == ["rbind", "rprivate", "ro"]
    assert result.mounts[0].source == str(tmp_path)
    assert result.rootfs_propagation == ""


def test_what_nothing_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "logs" / "web").mkdir(parents=True)
    for path in (tmp_path / "logs", tmp_path / "logs" / "web"):
        result = made(asked(path), always_read_only=str(tmp_path / "logs"))
        assert result.mounts[0].options == ["rbind", "rprivate", "ro"]
        assert result.reported[0].readonly
    assert made(asked(tmp_path), always_read_only=str(tmp_path / "logs")).mounts[0].options[-1] == "rw"


def test_reported_with_the_resolved_path(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert made(asked(tmp_path / "link")).reported[0].host_path == str(tmp_path / "real")


def test_missing_source(tmp_path: Path) -> None:
    notes = Notes()
    missing = tmp_path / "a/b"
    assert made(asked(missing), notes=notes).mounts[0].source == str(missing)
    assert notes.effects == [MakeHostDirectory(str(missing))]
    assert not missing.exists()
    with pytest.raises(InvalidArgument, match="will cause issues as a directory"):
        made(asked(missing), absent_sources_to_reject=(str(missing),))
    with pytest.raises(InvalidArgument, match="restored"):
        made(asked(missing), restored=True)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (pb.Mount(host_path="/x"), "no container path"),
        (pb.Mount(container_path="/x"), "no host path"),
        (pb.Mount(container_path="/x\0y", host_path="/x"), "NUL"),
        (asked("/tmp", recursive_read_only=True), "not read-only"),
        (asked("/tmp", recursive_read_only=True, readonly=True), "^RROUnsupported: .*does not support"),
        (
            asked("/proc", recursive_read_only=True, readonly=True, propagation=pb.PROPAGATION_HOST_TO_CONTAINER),
            "private",
        ),
        (asked("/tmp", uidMappings=[pb.IDMapping(host_id=1, length=1)]), "id-mapped"),
        (asked("/tmp", propagation=9), "not known"),
    ],
)
def test_refused(request_: pb.Mount, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        made(request_)


def test_recursive_read_only_and_id_mapped(tmp_path: Path) -> None:
    mapping = [pb.IDMapping(host_id=100000, container_id=0, length=65536)]
    result = made(
        asked(tmp_path, recursive_read_only=True, readonly=True, uidMappings=mapping, gidMappings=mapping),
        recursive_read_only=True,
        idmapped=True,
    )
    assert result.mounts[0].options[2] == "rro"
    assert result.mounts[0].uid_mappings[0].host_id == 100000


def test_owners_are_mapped_for_a_runtime_that_cannot(tmp_path: Path) -> None:
    mapping = [pb.IDMapping(host_id=100000, container_id=0, length=65536)]
    notes = Notes(directory="/run/ctr")
    requested = asked(tmp_path, uidMappings=mapping, gidMappings=mapping)
    result = volumes([requested, requested], {}, VolumeSettings(), notes)
    assert [mount.source for mount in result.mounts] == ["/run/ctr/volumes/0", "/run/ctr/volumes/1"]
    assert result.mounts[0].uid_mappings == []
    lines = ((0, 100000, 65536),)
    assert notes.effects[0] == MapOwners(str(tmp_path), "/run/ctr/volumes/0", lines, lines)
    assert result.reported[0].host_path == str(tmp_path)


def test_the_storage_root_is_never_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crio.container.specgen.volumes.require_propagation", lambda *_, **__: None)
    root = tmp_path / "var/storage"
    root.mkdir(parents=True)
    result = made(asked(tmp_path / "var"), storage_root=str(root))
    assert result.mounts[0].options == ["rbind", "rslave", "rw"]
    assert result.rootfs_propagation == "rslave"
    assert made(asked(f"{root}/.."), storage_root=str(root)).mounts[0].options[1] == "rslave"
    assert made(asked(tmp_path / "va"), storage_root=str(root)).mounts[0].options[1] == "rprivate"


def test_labels(tmp_path: Path) -> None:
    notes = Notes("/run/c", "label")
    made(asked(tmp_path, selinux_relabel=True), asked("/tmp"), notes=notes, trust_labels=True)
    assert notes.relabels == [Relabel(str(tmp_path), "label", True)]
    notes = Notes("/run/c", "label")
    made(asked(tmp_path, selinux_relabel=True), notes=notes, relabel=False)
    assert notes.relabels == []


def image_request(**fields: Any) -> pb.Mount:
    return pb.Mount(**{"container_path": "/img", "image": pb.ImageSpec(image="ref"), "readonly": True, **fields})


def test_image_volume(tmp_path: Path) -> None:
    result = made(image_request(), images={"/img": ImageMount(source=str(tmp_path), image_id="sha")})
    assert result.mounts[0].options == ["rbind", "rprivate", "ro", "nosuid", "nodev"]
    reported = result.reported[0]
    assert (reported.image.image, reported.image.image_ref, reported.readonly) == ("ref", "sha", True)


def test_artifact_files(tmp_path: Path) -> None:
    result = made(image_request(), images={"/img": ImageMount(files={"model/a.bin": "/blobs/1", "b": "/blobs/2"})})
    assert [(mount.destination, mount.source) for mount in result.mounts] == [
        ("/img/model/a.bin", "/blobs/1"),
        ("/img/b", "/blobs/2"),
    ]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "", ".", "a/../../x", "a\0b"])
def test_artifact_names_stay_below_the_mount_point(name: str) -> None:
    with pytest.raises(ImageVolumeMountFailed):
        made(image_request(), images={"/img": ImageMount(files={name: "/blobs/1"})})


def test_image_volumes_that_cannot_be_mounted(tmp_path: Path) -> None:
    with pytest.raises(ImageVolumeMountFailed, match=r"^ImageVolumeMountFailed: "):
        made(image_request())
    with pytest.raises(ImageVolumeMountFailed):
        made(image_request(host_path="/x"), images={"/img": ImageMount(source=str(tmp_path))})
    with pytest.raises(ImageVolumeMountFailed, match="not read-only"):
        made(image_request(readonly=False), images={"/img": ImageMount(source=str(tmp_path))})


def test_depth() -> None:
    assert [depth(path) for path in ("/", "/a", "/a/", "/a//b", "/a/../b/c")] == [0, 1, 1, 2, 2]
