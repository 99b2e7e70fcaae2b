"""What an image tells of itself, also when the store's copy of it is damaged."""

from __future__ import annotations

import errno
import json

import pytest

from crio.base.errors import NotFound
from crio.image.errors import BadImage
from crio.image.records import ImageInfo, make_info
from crio.storage.records import ImageRecord, replaced

ID = "a1" * 32


def info(config: bytes | None, *names: str) -> ImageInfo:
    key = f"sha256:{ID}"

    def read(id: str, wanted: str) -> bytes:
        if config is None or (id, wanted) != (ID, key):
            raise NotFound(f"cannot find {wanted} of {id}")
        return config

    record = ImageRecord(
        id=ID, created="2026-01-01T00:00:00Z", layer="", names=list(names), big_data_names=[key], metadata=""
    )
    return make_info(record, 7, False, read)


@pytest.mark.parametrize(
    ("user", "uid", "username"),
    [
        ("", None, ""), ("0", 0, ""), ("7:8", 7, ""), ("web", None, "web"), ("web:8", None, "web"), ("-1", None, "-1"),
        ("4294967295", None, "4294967295"), ("\u0663", None, "\u0663"), ("9" * 5000, None, "9" * 256),
        ("x" * 5000, None, "x" * 256),
    ],
)  # fmt: skip
def test_the_user_is_a_number_or_a_name(user: str, uid: int | None, username: str) -> None:
    image = info(json.dumps({"config": {"User": user}}).encode())
    assert (image.uid, image.username) == (uid, username)


@pytest.mark.parametrize(
    "config", [None, b"", b"[]", b'{"config":{"User":"\xff"}}', b'{"other":"\xff","config":{"User":5}}']
)
def test_a_damaged_configuration_names_no_user_and_is_told_when_asked_for(config: bytes | None) -> None:
    image = info(config)
    assert (image.uid, image.username, image.annotations, image.encrypted) == (None, "", {}, False)
    with pytest.raises((BadImage, NotFound), match="cannot"):
        _ = image.config


def test_a_configuration_that_the_disk_does_not_give_names_no_user() -> None:
    def read(id: str, key: str) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    record = ImageRecord(
        id=ID, created="", layer="", names=["a.example/x:1"], big_data_names=[f"sha256:{ID}"], metadata=""
    )
    image = make_info(record, 7, False, read)
    assert (image.uid, image.username) == (None, "")
    with pytest.raises(OSError, match="Input/output error"):
        _ = image.encrypted


def test_fields_that_nobody_here_reads_may_be_damaged() -> None:
    image = info(b'{"other":"\xff","config":{"User":"5"}}')
    assert image.uid == 5
    with pytest.raises(BadImage, match="its configuration cannot be read"):
        _ = image.config_document


def test_digests_are_told_for_each_repository() -> None:
    digest = "sha256:" + "b" * 64
    image = info(b"{}", "a.example/x:1", f"b.example/y@{digest}", "NOT A NAME")
    assert image.repo_tags == ("a.example/x:1", "NOT A NAME")
    assert image.repo_digests == (f"b.example/y@{digest}",)


def test_an_image_that_lost_its_names_is_still_told_where_it_came_from() -> None:
    digest = "sha256:" + "b" * 64
    record = ImageRecord(id=ID, created="", names_history=["b.example/y:2", "a.example/x:1"], digest=digest)
    image = make_info(record, 7, False, lambda id, key: b"{}")
    assert image.names == image.repo_tags == ()
    assert image.repo_digests == (f"b.example/y@{digest}",)
    for odd in (replaced(record, digest=""), replaced(record, names_history=["NO NAME"])):
        assert make_info(odd, 7, False, lambda id, key: b"{}").repo_digests == ()
