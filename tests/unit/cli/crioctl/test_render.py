from __future__ import annotations

import time

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl import render


def test_plain_form_of_every_kind_of_field() -> None:
    message = pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name="c"),
        envs=[pb.KeyValue(key="A", value=b"\x00\xff")],
        labels={"b": "2", "a": "1"},
        stop_signal=pb.SIGTERM,
        CDI_devices=[pb.CDIDevice(name="d")],
    )
    plain = render.to_plain(message)
    assert list(plain)[:4] == ["metadata", "command", "args", "workingDir"]
    assert "image" not in plain
    assert plain["metadata"] == {"name": "c", "attempt": 0}
    assert plain["envs"] == [{"key": "A", "value": "AP8="}]
    assert list(plain["labels"]) == ["a", "b"]
    assert plain["stopSignal"] == "SIGTERM"
    assert plain["CDIDevices"] == [{"name": "d"}]
    assert plain["stdin"] is False
    assert render.with_all_fields(message, plain)["image"] is None


def test_numbers() -> None:
    stats = pb.PsiData(Total=1 << 63, Avg10=1.5, Avg60=float("nan"), Avg300=float("-inf"))
    assert render.to_plain(stats) == {"Total": str(1 << 63), "Avg10": 1.5, "Avg60": "NaN", "Avg300": "-Infinity"}


def test_an_enum_value_of_the_future() -> None:
    assert render.to_plain(pb.PodSandboxStateValue(state=7)) == {"state": 7}  # type: ignore[arg-type]


def test_fields_that_are_set() -> None:
    handler = pb.RuntimeHandler(name="x", features=pb.RuntimeHandlerFeatures(recursive_read_only_mounts=True))
    assert render.set_fields(handler) == {"name": "x", "features": {"recursive_read_only_mounts": True}}


@pytest.mark.parametrize(
    ("zone", "text", "words"),
    [
        ("UTC", "2023-11-14T22:13:20.0125Z", "2023-11-14 22:13:20.0125 +0000 UTC"),
        ("Asia/Kolkata", "2023-11-15T03:43:20.0125+05:30", "2023-11-15 03:43:20.0125 +0530 IST"),
        ("America/Caracas", "2023-11-14T18:13:20.0125-04:00", "2023-11-14 18:13:20.0125 -0400 -04"),
    ],
)
def test_times(zone: str, text: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert render.timestamp(1_700_000_000_012_500_000) == text
        assert render.timestamp_words(1_700_000_000_012_500_000) == words
        assert "." not in render.timestamp(1_700_000_000_000_000_000)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_yaml_is_as_go_writes_it() -> None:
    data: dict[str, object] = {"b": "1", "a": ["", "true", "text", "ümlaut", "a: b"], "c": {}, "d": None, "e": 5}
    assert render.format_text(data, "yaml") == (
        'a:\n- ""\n- "true"\n- text\n- ümlaut\n- "a: b"\nb: "1"\nc: {}\nd: null\ne: 5\n'
    )


def test_information_values() -> None:
    document = render.status_document({"id": "x"}, {"z": '"quoted"', "a": '{"b": 1}', "n": "plain", "l": "[1]"})
    assert document == {"status": {"id": "x"}, "a": {"b": 1}, "l": "[1]", "n": "plain", "z": "quoted"}
