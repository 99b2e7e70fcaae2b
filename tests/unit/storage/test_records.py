from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.base.errors import DataLoss, InvalidArgument
from crio.storage.records import (
    ContainerRecord,
    ImageRecord,
    LayerRecord,
    check_id,
    decode,
    decode_list,
    encode,
    format_time,
    is_time,
    layer_id,
    parse_time,
    replaced,
)

A, B = "a" * 64, "b" * 64

PODMAN_LAYER = (
    b'{"id":"f50c","parent":"3d24","created":"2023-05-04T01:02:03.123456789Z","compressed-diff-digest":"sha256:aa",'
    b'"compressed-size":3,"diff-digest":"sha256:bb","diff-size":4,"compression":2,"uidset":[0],"gidset":[0,5],'
    b'"uidmap":[{"container_id":0,"host_id":1,"size":2}]}'
)


def test_layer_of_podman_is_read_and_written_alike() -> None:
    layer = decode(LayerRecord, PODMAN_LAYER, "layers.json")
    assert (layer.parent, layer.compression, layer.gidset, layer.uidmap[0].host_id) == ("3d24", 2, [0, 5], 1)
    assert json.loads(encode(layer)) == json.loads(PODMAN_LAYER)


def test_unknown_fields_and_nulls_survive() -> None:
    raw = b'{"id":"x","created":"0001-01-01T00:00:00Z","names":null,"toc-digest":"t","later":{"a":[1]},"flags":{"b":2}}'
    layer = decode(LayerRecord, raw, "layers.json")
    changed = json.loads(encode(replaced(layer, names=["n"])))
    assert changed == {
        "id": "x",
        "created": "0001-01-01T00:00:00Z",
        "names": ["n"],
        "toc-digest": "t",
        "later": {"a": [1]},
        "flags": {"b": 2},
    }


def test_containers_always_say_image_and_layer() -> None:
    record = ContainerRecord(id="c", created="2020-01-01T00:00:00Z")
    assert json.loads(encode(record)) == {"id": "c", "image": "", "layer": "", "created": "2020-01-01T00:00:00Z"}
    image = ImageRecord(id="i", created="2020-01-01T00:00:00Z")
    assert json.loads(encode(image)) == {"id": "i", "created": "2020-01-01T00:00:00Z"}


def test_image_digests_come_from_its_manifests() -> None:
    image = ImageRecord(
        id="i",
        created="",
        digest="sha256:1",
        big_data_names=["manifest-sha256:2", "manifest", "sha256:c"],
        big_data_digests={"manifest-sha256:2": "sha256:2", "manifest": "sha256:1", "sha256:c": "sha256:c"},
    )
    assert image.digests == ["sha256:1", "sha256:2"]


@pytest.mark.parametrize("id", ["", "..", ".", "l", "a/b", "../../etc"])
@pytest.mark.parametrize("field", ["id", "parent"])
def test_ids_that_are_no_file_names(id: str, field: str) -> None:
    if (field, id) == ("parent", ""):
        return
    raw = json.dumps({"id": "x", "created": "", field: id}).encode()
    with pytest.raises(DataLoss, match="not an id"):
        decode(LayerRecord, raw, "layers.json")


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{}", b'{"id":5,"created":""}', b'{"id":"x"', b'{"id":"x","created":7}', b'{"id":"\xff"}']
)
def test_broken_records(raw: bytes) -> None:
    with pytest.raises(DataLoss, match=r"layers\.json"):
        decode(LayerRecord, raw, "layers.json")


def test_broken_list() -> None:
    assert decode_list(b"", "x") == []
    for data in (b"{}", b"[", b"[{}", b"[1,", b'[{"id":"\xff"}]'):
        with pytest.raises(DataLoss):
            decode_list(data, "x")


def test_ids_of_layers_are_the_chain_of_containers_storage() -> None:
    base = "sha256:f50c0ab637ca044ac0a1eb84149749af2799d68e4139e909a5602ab8663035b0"
    upper = "sha256:8275b1493f4145957de5cf80ab30e2637c66be258e1d00882cb78b5d3376ae64"
    bottom = layer_id(None, base)
    assert bottom == base.removeprefix("sha256:")
    assert layer_id("", base) == bottom
    assert layer_id(bottom, upper) == "e3558cc284b23f04504b571f32cf6c1e3de77124110c11ef0f1c13ff6799cfd9"


@given(st.integers(0, 4_000_000_000_000_000_000))
def test_times_come_back(nanoseconds: int) -> None:
    assert parse_time(format_time(nanoseconds)) == nanoseconds


def test_times_of_other_tools() -> None:
    assert parse_time("1970-01-01T00:00:01Z") == 10**9
    assert parse_time("1970-01-01T01:00:00.5+01:00") == 5 * 10**8
    assert parse_time("0001-01-01T00:00:00Z") < 0
    assert parse_time("nonsense") == 0
    assert format_time(1_500_000_000) == "1970-01-01T00:00:01.5Z"


def test_ids_from_callers() -> None:
    assert check_id(A, "a container") == A
    for bad in ("", "x", A.upper(), A + "0", "../" + A):
        with pytest.raises(InvalidArgument, match="container"):
            check_id(bad, "a container")


@pytest.mark.parametrize(
    "text",
    ["2024-02-29T23:59:59Z", "0001-01-01T00:00:00Z", "2024-01-01T00:00:00.123456789123Z", "1970-01-01T00:00:01+23:59"],
)
def test_times_that_every_tool_reads(text: str) -> None:
    assert is_time(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "yesterday", "2023-02-29T00:00:00Z", "2024-01-01", "2024-01-01T00:00:00", "2024-01-01 00:00:00Z",
        "2024-01-01T24:00:00Z", "2024-01-01T00:00:60Z", "2024-01-01T00:00:00,5Z", "2024-01-01T00:00:00.Z",
        "2024-01-01T00:00:00+24:00", "2024-01-01T00:00:00+0100", "20240101T000000Z", "2024-W01-1T00:00:00Z",
        "2024-01-01T00:00:00Z\n", "\u0662024-01-01T00:00:00Z", "2024-01-01T00:00:00z",
    ],
)  # fmt: skip
def test_what_others_would_stumble_over_is_no_time(text: str) -> None:
    assert not is_time(text)
