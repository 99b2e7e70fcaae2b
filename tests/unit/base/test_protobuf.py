from __future__ import annotations

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.protobuf import field, number_field, repeated, varint


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 16383, 16384, 1 << 40])
def test_numbers_are_as_protobuf_has_them(value: int) -> None:
    assert varint(value) == (pb.Int64Value(value=value).SerializeToString()[1:] or b"\0")
    assert pb.Int64Value.FromString(number_field(1, value)).value == value


def test_a_list_of_encoded_messages() -> None:
    items = [pb.Container(id="x" * size, labels={"a": "b"}) for size in (0, 1, 100, 300, 20_000)]
    whole = pb.ListContainersResponse(containers=items)
    assert pb.ListContainersResponse.FromString(repeated(1, [item.SerializeToString() for item in items])) == whole
    assert repeated(1, []) == b""


def test_parts_of_a_message() -> None:
    metadata = pb.ContainerMetadata(name="n")
    parts = pb.Container(id="i").SerializeToString() + field(3, metadata.SerializeToString()) + number_field(6, 2)
    assert pb.Container.FromString(parts) == pb.Container(id="i", metadata=metadata, state=pb.CONTAINER_EXITED)
    # What comes later holds.
    assert pb.Container.FromString(parts + number_field(6, 0)).state == pb.CONTAINER_CREATED
