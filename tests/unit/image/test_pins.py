from __future__ import annotations

import pytest

from crio.image.pins import Pins


@pytest.mark.parametrize(
    ("pattern", "name", "pinned"),
    [
        ("example.com/a:1", "example.com/a:1", True),
        ("example.com/a:1", "example.com/a:11", False),
        ("example.com/a*", "example.com/abc:1", True),
        ("example.com/a*", "other.com/example.com/a", False),
        ("*pause*", "registry.k8s.io/pause:3.10", True),
        ("*pause*", "registry.k8s.io/paus:3.10", False),
        ("*", "anything", False),
        ("**", "anything", False),
        ("", "anything", False),
    ],
)
def test_patterns(pattern: str, name: str, pinned: bool) -> None:
    assert Pins([pattern]).match([name]) is pinned


def test_any_name_counts() -> None:
    pins = Pins(["a:1", "b*"])
    assert pins.match(["x", "b:2"])
    assert not pins.match([])
