from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import images
from crio.base.errors import CrioError
from crio.image.compression import Compression, expander
from crio.image.errors import BadImage
from crio.image.transfer import toc
from crio.spec.oci_image import LAYER, Descriptor
from zstd_chunked import PREFIX, chunked, sha256

CORPUS = Path(__file__).parents[3] / "corpus" / "zstd_chunked"
TAR = images.layer({"a": None, "a/one": "1" * 5000, "a/two": "2" * 70_000, "a/none": "", "a/link": "->one"})


def descriptor(blob: bytes, notes: dict[str, str]) -> Descriptor:
    return Descriptor(media_type=LAYER + "+zstd", digest=sha256(blob), size=len(blob), annotations=notes)


def read(blob: bytes, layer: Descriptor) -> toc.Table:
    places = toc.places_of(layer)
    assert places is not None
    table = toc.parse_table(blob[places.table.start : places.table.stop], places)[1]
    toc.check_records(blob[places.records.start : places.records.stop], table)
    return table


def expanded(data: bytes) -> bytes:
    stream = expander(Compression.ZSTD)
    whole = b"".join(stream.feed(data))
    stream.finish()
    return whole


def real() -> tuple[bytes, Descriptor]:
    """What skopeo 1.18 has written."""
    blob = (CORPUS / "skopeo-1.18.blob").read_bytes()
    fields = json.loads((CORPUS / "skopeo-1.18.json").read_text())
    return blob, Descriptor(
        media_type=fields["mediaType"], digest=fields["digest"], size=fields["size"], annotations=fields["annotations"]
    )


@pytest.mark.parametrize("made", ["here", "by skopeo"])
def test_tables_are_read(made: str) -> None:
    if made == "here":
        blob, notes = chunked(TAR)
        assert expanded(blob) == TAR
        layer = descriptor(blob, notes)
    else:
        blob, layer = real()
    table = read(blob, layer)
    for entry in table.entries:
        if entry.has_content:
            content = expanded(blob[entry.offset : entry.end_offset])
            assert (len(content), sha256(content)) == (entry.size, entry.digest)
    assert sum(entry.has_content for entry in table.entries) >= 2


@pytest.mark.parametrize(
    "note",
    [
        ("manifest-position", "0:5:5:1"),
        ("manifest-position", "10:5:5:2"),
        ("manifest-position", "10:99999999:5:1"),
        ("manifest-position", "10:5:99999999999:1"),
        ("manifest-position", "1:1:1"),
        ("manifest-position", "9" * 30 + ":1:1:1"),
        ("manifest-checksum", "sha256:1"),
        ("manifest-checksum", ""),
        ("tarsplit-position", ""),
        ("tarsplit-position", "1:0:5"),
        ("tarsplit-position", "-1:5:5"),
    ],
)
def test_other_annotations_make_it_an_ordinary_layer(note: tuple[str, str]) -> None:
    blob, notes = chunked(TAR)
    assert toc.places_of(descriptor(blob, notes | {PREFIX + note[0]: note[1]})) is None
    assert toc.places_of(Descriptor(digest=sha256(blob), size=len(blob))) is None


def test_a_table_and_records_that_lie_far_apart_are_not_fetched_together() -> None:
    """What is between them would have to be in memory as well."""
    _, notes = chunked(TAR)
    far = notes | {PREFIX + "manifest-position": "10:500:600:1", PREFIX + "tarsplit-position": "50000000000:500:600"}
    layer = Descriptor(media_type=LAYER + "+zstd", digest=sha256(b""), size=1 << 40, annotations=far)
    assert toc.places_of(layer) is None
    near = far | {PREFIX + "tarsplit-position": f"{toc.MAX_COMPRESSED}:500:600"}
    assert toc.places_of(msgspec.structs.replace(layer, annotations=near)) is not None


def test_wrong_tables_are_refused() -> None:
    blob, notes = chunked(TAR, table=lambda document: document.update(version=2))
    with pytest.raises(BadImage, match="version 2"):
        read(blob, descriptor(blob, notes))
    blob, notes = chunked(TAR)
    other = blob.replace(b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfe")
    with pytest.raises(BadImage, match="another digest"):
        read(other, descriptor(blob, notes))
    position, length, size, kind = notes[PREFIX + "manifest-position"].split(":")
    for wrong in (int(size) - 1, int(size) + 1):
        changed = notes | {PREFIX + "manifest-position": f"{position}:{length}:{wrong}:{kind}"}
        with pytest.raises(BadImage, match="its size"):
            read(blob, descriptor(blob, changed))
    blob, notes = chunked(TAR, table=lambda document: document.update(tarSplitDigest="sha256:0"))
    with pytest.raises(BadImage, match="tar-split"):
        read(blob, descriptor(blob, notes))


@given(sizes=st.lists(st.integers(1, 500), max_size=20))
def test_the_table_of_a_passing_blob_is_kept(sizes: list[int]) -> None:
    blob, layer = real()
    places = toc.places_of(layer)
    assert places is not None

    def cut() -> Iterator[bytes]:
        position = 0
        for size in sizes:
            yield blob[position : position + size]
            position += size
        yield blob[position:]

    tap = toc.TableTap(places)
    assert b"".join(tap.pass_on(cut())) == blob
    kept = tap.table()
    assert kept is not None
    assert toc.decode_table(kept) == read(blob, layer)
    assert toc.TableTap(places).table() is None


@given(st.binary(max_size=300), st.integers(0, 2900), st.integers(0, 255))
def test_any_bytes_are_read_or_refused(data: bytes, at: int, value: int) -> None:
    blob, layer = real()
    places = toc.places_of(layer)
    assert places is not None
    damaged = blob[:at] + bytes([value]) + data + blob[at + 1 :]
    for text in (data, damaged[places.table.start : places.table.stop]):
        try:
            toc.parse_table(text, places)
        except CrioError:
            pass
    for text in (data, b'{"version":1,"entries":[' + data + b"]}"):
        try:
            toc.decode_table(text)
        except CrioError:
            pass
