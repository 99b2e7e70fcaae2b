from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from crio.base.ids import new_id
from crio.storage.check import Damage, Report, Subject, check, repair
from crio.storage.options import StoreOptions
from crio.storage.records import ImageRecord, replaced
from crio.storage.store import Store

pytestmark = pytest.mark.root

TarMaker = Callable[..., bytes]
ImageMaker = Callable[..., ImageRecord]


@pytest.fixture
def image(store: Store, tar: TarMaker, add_image: ImageMaker) -> ImageRecord:
    return add_image(store, "localhost/a:1", tar(("a", b"1" * 1000)), tar(("b", b"2")))


def found(report: Report) -> set[tuple[Subject, str]]:
    return {(damage.subject, damage.id) for damage in report.damages}


def test_a_good_store_is_healthy(store: Store, image: ImageRecord) -> None:
    store.create_container(new_id(), names=["c"], image_id=image.id)
    report = check(store, age=0)
    assert report.healthy
    assert report.checked == {Subject.LAYER: 3, Subject.IMAGE: 1, Subject.CONTAINER: 1}
    assert "no damaged" in str(report)


def damage_content(store: Store, image: ImageRecord) -> None:
    (Path(store.driver.own_directories(store.layer(image.layer).parent)[0]) / "a").write_text("changed")


def lose_file(store: Store, image: ImageRecord) -> None:
    (Path(store.driver.own_directories(store.layer(image.layer).parent)[0]) / "a").unlink()


def lose_directory(store: Store, image: ImageRecord) -> None:
    parent = store.layer(image.layer).parent
    shutil.rmtree(os.path.join(store.driver.home, parent))


def lose_tar_split(store: Store, image: ImageRecord) -> None:
    os.unlink(store.layer_store.tar_split_path(store.layer(image.layer).parent))


def cut_tar_split(store: Store, image: ImageRecord) -> None:
    os.truncate(store.layer_store.tar_split_path(store.layer(image.layer).parent), 50)


@pytest.mark.parametrize("harm", [damage_content, lose_file, lose_directory, lose_tar_split, cut_tar_split])
def test_a_damaged_layer_takes_its_image_with_it(
    store: Store, image: ImageRecord, harm: Callable[[Store, ImageRecord], None], tar: TarMaker, add_image: ImageMaker
) -> None:
    parent = store.layer(image.layer).parent
    harm(store, image)
    report = check(store)
    assert found(report) == {(Subject.LAYER, parent), (Subject.IMAGE, image.id)}
    assert repair(store, report) == []
    assert (store.images(), store.layers()) == ([], [])
    again = add_image(store, "localhost/a:1", tar(("a", b"1" * 1000)), tar(("b", b"2")))
    assert again.id == image.id
    assert check(store).healthy


def test_a_quick_look_skips_content(store: Store, image: ImageRecord) -> None:
    damage_content(store, image)
    assert check(store, quick=True).healthy
    lose_tar_split(store, image)
    assert not check(store, quick=True).healthy


def test_blobs_are_verified(store: Store, image: ImageRecord) -> None:
    path = Path(store.image_store.directories[0], image.id, "manifest")
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b" ")
    assert found(check(store)) == {(Subject.IMAGE, image.id)}
    assert check(store, quick=True).healthy
    path.write_bytes(good + b" ")
    assert "bytes" in str(check(store, quick=True))
    path.unlink()
    assert found(check(store, quick=True)) == {(Subject.IMAGE, image.id)}


def test_containers_go_only_on_request(store: Store, image: ImageRecord) -> None:
    id = new_id()
    store.create_container(id, names=["c"], image_id=image.id)
    damage_content(store, image)
    report = check(store)
    assert (Subject.CONTAINER, id) in found(report)
    left = repair(store, report)
    assert {damage.subject for damage in left} == {Subject.CONTAINER, Subject.IMAGE, Subject.LAYER}
    assert "uses it" in str(left)
    assert len(store.containers()) == 1
    assert repair(store, report, remove_containers=True) == []
    assert (store.containers(), store.images(), store.layers()) == ([], [], [])


def test_a_missing_parent_or_image_is_seen(store: Store, image: ImageRecord) -> None:
    id = new_id()
    store.create_container(id, names=["c"], image_id=image.id)
    with store.image_store.table.writing() as edit:
        edit.drop(image.id)
        edit.save()
    with store.layer_store.table.writing() as layer_edit:
        layer_edit.put(replaced(store.layer(image.layer), parent="f" * 64))
        layer_edit.save()
    text = str(check(store, quick=True))
    assert f"its parent {'f' * 64} is missing" in text
    assert f"its image {image.id} is missing" in text


def test_layers_without_use_are_reported_when_old(store: Store, tar: TarMaker) -> None:
    with store.stage_layer() as writer:
        writer.write(tar(("x", b"")))
        layer = writer.commit(None)
    assert check(store).healthy
    report = check(store, age=-1)
    assert report.damages == (Damage(Subject.LAYER, layer.id, "nothing refers to it"),)
    assert repair(store, report) == []
    assert store.layers() == []


def test_read_only_stores_are_looked_at_but_left(place: Path, tar: TarMaker, add_image: ImageMaker) -> None:
    shared = StoreOptions(str(place / "shared"), str(place / "shared-run"))
    with Store.open(shared) as store:
        image = add_image(store, "localhost/a:1", tar(("a", b"1")))
        (Path(store.driver.own_directories(image.layer)[0]) / "a").write_text("2")
    mine = StoreOptions(str(place / "graph"), str(place / "run"), additional_image_stores=[shared.graphroot])
    with Store.open(mine) as store:
        report = check(store)
        assert all(damage.read_only for damage in report.damages)
        assert len(report.damages) == 2
        assert repair(store, report) == list(report.damages)[::-1]
        assert store.image(image.id)


def test_content_without_a_record(store: Store, image: ImageRecord) -> None:
    lost = new_id()
    store.driver.create(lost, image.layer, staged=None, image=False, discard=store.layer_store.discard)
    blobs = Path(store.image_store.directories[0], new_id())
    blobs.mkdir()
    report = check(store, quick=True)
    assert found(report) == {(Subject.FILES, lost), (Subject.FILES, str(blobs))}
    assert blobs.exists()
    assert repair(store, report) == []
    assert not blobs.exists()
    assert check(store).healthy


def test_an_interrupted_pull_is_undone_by_opening(options: StoreOptions, tar: TarMaker) -> None:
    with Store.open(options) as store:
        with store.stage_layer() as writer:
            writer.write(tar(("x", b"")))
            layer = writer.commit(None)
        with store.layer_store.table.writing() as edit:
            edit.put(replaced(layer, flags={"incomplete": True}))
            edit.save()
        staging = Path(options.graphroot, "overlay/tempdirs")
        (staging / "temp-dir-dead").mkdir(parents=True)
    with Store.open(options) as store:
        assert store.cleaned == [
            f"unfinished work in {staging}",
            f"layer {layer.id}, which was not complete",
        ]
        assert check(store).healthy
