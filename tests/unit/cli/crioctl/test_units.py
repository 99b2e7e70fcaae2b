from __future__ import annotations

import pytest

from crio.cli.crioctl.units import human_duration, human_size, parse_duration, truncated


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (1234567, "1.235MB"), (50_000_000_000, "50GB"), (1e21, "1000EB")],
)
def test_sizes(count: float, text: str) -> None:
    assert human_size(count) == text


def test_precision() -> None:
    assert human_size(1234567, 3) == "1.23MB"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "Less than a second"),
        (1.9, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (120, "2 minutes"),
        (59 * 60 + 59, "59 minutes"),
        (3600, "About an hour"),
        (3600 * 1.6, "2 hours"),
        (3600 * 47, "47 hours"),
        (86400 * 3, "3 days"),
        (86400 * 14, "2 weeks"),
        (86400 * 60, "2 months"),
        (86400 * 730, "2 years"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5", 1.5), ("2s", 2), ("1m30s", 90), ("500ms", 0.5), ("1h", 3600), ("-5s", -5), ("1.5h", 5400)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "5x", "1m 3s", "m5", "1e3", "--5"])
def test_not_durations(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_truncated() -> None:
    assert truncated("sha256:" + "ab" * 32, "sha256:") == "ababababababa"
