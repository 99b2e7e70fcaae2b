from __future__ import annotations

import msgspec
import pytest

from crio.base.jsontext import UNREADABLE


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"a": "\xff\xfe"}', b'["\xa8"]', b"[" * 100_000, b'{"a": 5}', b"1e999999"]
)
def test_every_way_to_be_unreadable(data: bytes) -> None:
    with pytest.raises(UNREADABLE):
        msgspec.json.decode(data, type=dict[str, str])
