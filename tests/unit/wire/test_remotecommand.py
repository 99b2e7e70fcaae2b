from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.wire.remotecommand import (
    EXEC_SPDY,
    EXEC_WEBSOCKET,
    SUCCESS,
    Outcome,
    Size,
    SizeReader,
    decode_outcome,
    encode_outcome,
    encode_size,
    negotiate,
)


def test_the_clients_order_of_protocols_decides() -> None:
    assert negotiate(["v9.channel.k8s.io", "channel.k8s.io", "v4.channel.k8s.io"], [*EXEC_SPDY]) == "channel.k8s.io"
    assert negotiate(["v5.channel.k8s.io", "v4.channel.k8s.io"], [*EXEC_WEBSOCKET]) == "v5.channel.k8s.io"
    assert negotiate([], [*EXEC_SPDY]) is None


@given(st.lists(st.builds(Size, st.integers(1, 65535), st.integers(1, 65535)), max_size=5), st.integers(1, 30))
def test_sizes_are_read_however_they_are_cut(sizes: list[Size], cut: int) -> None:
    data = b"".join(encode_size(size) for size in sizes)
    reader = SizeReader()
    found: list[Size] = []
    for start in range(0, len(data), cut):
        found += reader.feed(data[start : start + cut])
    assert found == sizes


@pytest.mark.parametrize(
    "document", [b"[]", b'{"Width":0,"Height":1}', b'{"Width":"1","Height":1}', b'{"Width":70000,"Height":1}', b"{}"]
)
def test_what_is_no_size_is_skipped(document: bytes) -> None:
    reader = SizeReader()
    assert reader.feed(document + encode_size(Size(24, 80))) == [Size(24, 80)]


def test_garbage_does_not_pile_up() -> None:
    reader = SizeReader()
    for _ in range(100):
        reader.feed(b"[" * 1000)
    assert len(reader._text) <= 4096
    reader.feed(b"[" * 5000)
    assert reader.feed(encode_size(Size(1, 2))) == [Size(1, 2)]


def test_number_with_more_digits_than_are_read_is_garbage() -> None:
    reader = SizeReader()
    assert reader.feed(b'{"Width":' + b"9" * 5000 + b',"Height":1}') == []
    assert reader.feed(encode_size(Size(1, 2))) == [Size(1, 2)]


def test_success() -> None:
    assert json.loads(encode_outcome(SUCCESS, 4)) == {"metadata": {}, "status": "Success"}
    assert encode_outcome(SUCCESS, 3) == b""


def test_exit_code_is_a_cause_of_the_status() -> None:
    status = json.loads(encode_outcome(Outcome(7), 4))
    assert status["status"] == "Failure"
    assert status["reason"] == "NonZeroExitCode"
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]
    assert encode_outcome(Outcome(7), 2) == b"command terminated with non-zero exit code: exit status 7"


def test_error_is_internal() -> None:
    status = json.loads(encode_outcome(Outcome(None, "no such file"), 5))
    assert (status["reason"], status["code"]) == ("InternalError", 500)
    assert "no such file" in status["message"]


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("code", [0, 1, 137, 255])
def test_exit_codes_survive_the_error_stream(version: int, code: int) -> None:
    assert decode_outcome(encode_outcome(Outcome(code), version)).exit_code == code


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        (b"", SUCCESS),
        (b"plain text", Outcome(None, "plain text")),
        (b"[1]", Outcome(None, "[1]")),
        (b'{"details":{"causes":[{"reason":"ExitCode","message":"x"}]}}', None),
        (b'{"status":"Failure","message":"m"}', Outcome(None, "m")),
    ],
)
def test_outcomes_of_other_servers(data: bytes, outcome: Outcome | None) -> None:
    assert decode_outcome(data) == (outcome or Outcome(None, data.decode()))
