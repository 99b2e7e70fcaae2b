from __future__ import annotations

import pytest

from crio.network.quantity import parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("10M", 10_000_000),
        ("512Ki", 524_288),
        ("1.5e6", 1_500_000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("2Ei", 2 << 60),
        ("100m", 1),
        ("0.5k", 500),
        ("1.0000001k", 1001),
        ("+7", 7),
    ],
)
def test_amounts(text: str, value: int) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "x", "-1", "1e", "1 M", "1MM", ".5", "1" * 30, "1e999", "٣"])
def test_what_is_no_amount(text: str) -> None:
    assert parse_quantity(text) is None
