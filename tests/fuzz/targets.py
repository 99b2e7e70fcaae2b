"""What is fuzzed: functions that take any bytes, and may refuse them only by the project's own errors.

Each has a directory of inputs in tests/corpus, by its name. An input that once was a fault is kept there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from crio.base.errors import CrioError
from crio.image import schema1
from crio.image.compression import MAGIC_LENGTH, detect, expander
from crio.image.documents import parse_config, parse_document
from crio.image.registry.challenge import parse_challenges
from crio.image.transfer import toc
from crio.spec.docker_image import Schema1Manifest
from crio.wire import reference
from crio.wire.tar import TarEntry, TarReader, TarTail

CORPUS = Path(__file__).resolve().parents[1] / "corpus"
_MAX_EXPANDED = 1 << 22


def fuzz_reference(data: bytes) -> None:
    """A name that is understood is written in a form that means the same."""
    parsed = reference.parse(data.decode("utf-8", "surrogateescape"))
    assert reference.parse(str(parsed)) == parsed
    assert reference.parse(str(parsed.canonical())) == parsed.canonical()


def fuzz_manifest(data: bytes) -> None:
    """What passes is one kind of document, and can be worked with."""
    document = parse_document(data, "", "fuzz")
    if isinstance(document, Schema1Manifest):
        schema1.payload(data)
        schema1.make_config(document, ())
        schema1.layers(document)


def fuzz_config(data: bytes) -> None:
    config = parse_config(data, "fuzz")
    assert isinstance(config.entrypoint, tuple)
    assert isinstance(config.cmd, tuple)


def fuzz_challenge(data: bytes) -> None:
    for challenge in parse_challenges([data.decode("latin-1")]):
        assert challenge.scheme == challenge.scheme.lower()
        assert all(name == name.lower() for name in challenge.parameters)


def fuzz_tar(data: bytes) -> None:
    """The same members come out, or the same error, however the bytes are cut."""
    whole, cut = _tar_events(data, len(data) or 1), _tar_events(data, 700)
    assert whole[:2] == cut[:2]
    assert type(whole[2]) is type(cut[2])
    if whole[2] is not None:
        raise whole[2]


def fuzz_compressed(data: bytes) -> None:
    stream = expander(detect(data[:MAGIC_LENGTH]))
    size = 0
    for piece in stream.feed(data):
        size += len(piece)
        if size > _MAX_EXPANDED:
            return
    stream.finish()


def fuzz_zstd_table(data: bytes) -> None:
    """The table of a zstd:chunked layer, as it is when expanded."""
    for entry in toc.decode_table(data).entries:
        assert isinstance(entry.has_content, bool)


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "reference": fuzz_reference,
    "manifest": fuzz_manifest,
    "config": fuzz_config,
    "challenge": fuzz_challenge,
    "tar": fuzz_tar,
    "zstd_chunked": fuzz_compressed,
    "zstd_table": fuzz_zstd_table,
}


def inputs(name: str) -> list[bytes]:
    """The corpus of one target."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def _tar_events(data: bytes, step: int) -> tuple[list[tuple[object, ...]], bytes, CrioError | None]:
    """Members, everything else joined, and why it ended."""
    reader = TarReader()
    members: list[tuple[object, ...]] = []
    rest = bytearray()
    try:
        events = [event for at in range(0, len(data), step) for event in reader.feed(data[at : at + step])]
        for event in (*events, *reader.finish()):
            if isinstance(event, TarEntry):
                members.append((event.name, event.kind, event.size, event.sparse, event.header, dict(event.xattrs)))
            else:
                rest += event.raw if isinstance(event, TarTail) else event
    except CrioError as error:
        return [], b"", error
    return members, bytes(rest), None
