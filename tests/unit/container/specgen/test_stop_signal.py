from __future__ import annotations

import signal

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.container.specgen import stop_signal


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SIGTERM", 15),
        ("term", 15),
        ("15", 15),
        (" SIGQUIT ", 3),
        ("SIGRTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("RTMIN+3", 37),
        ("SIGRTMAX-1", 63),
        ("SIGRTMINPLUS3", 37),
        ("SIGRTMAXMINUS14", 50),
        ("SIGCLD", 17),
        ("SIGSTKFLT", 16),
        ("SIGPWR", 30),
        ("0", 0),
        ("65", 0),
        ("SIGRTMIN+31", 0),
        ("SIGRTMAX+1", 0),
        ("SIG_IGN", 0),
        ("rm -rf", 0),
        ("", 0),
        ("9" * 50, 0),
    ],
)
def test_texts(text: str, number: int) -> None:
    assert stop_signal.parse(text) == number


def test_every_signal_of_the_cri_has_a_number() -> None:
    numbers = {pb.Signal.Name(value): stop_signal.number_of(value) for value in pb.Signal.values()}
    assert numbers.pop("RUNTIME_DEFAULT") == 0
    assert all(1 <= number <= 64 for number in numbers.values())
    assert set(numbers.values()) == set(range(1, 65)) - {32, 33}
    assert numbers["SIGKILL"] == signal.SIGKILL
    assert numbers["SIGRTMAX"] == 64


def test_names_and_values_go_both_ways() -> None:
    for number in set(range(1, 65)) - {32, 33}:
        assert stop_signal.parse(stop_signal.name_of(number)) == number
        assert stop_signal.number_of(stop_signal.value_of(number)) == number
    assert stop_signal.name_of(49) == "SIGRTMIN+15"
    assert stop_signal.name_of(50) == "SIGRTMAX-14"


def test_request_over_image_over_term() -> None:
    warnings: list[str] = []
    assert stop_signal.choose(pb.SIGRTMINPLUS3, "SIGQUIT", warnings) == stop_signal.StopSignal(
        37, "SIGRTMIN+3", pb.SIGRTMINPLUS3
    )
    assert stop_signal.choose(pb.RUNTIME_DEFAULT, "SIGQUIT", warnings) == stop_signal.StopSignal(
        3, "SIGQUIT", pb.SIGQUIT
    )
    assert stop_signal.choose(pb.RUNTIME_DEFAULT, "", warnings) == stop_signal.StopSignal(15, "SIGTERM", pb.SIGTERM)
    assert warnings == []
    assert stop_signal.choose(pb.RUNTIME_DEFAULT, "nonsense", warnings).number == 15
    assert len(warnings) == 1
