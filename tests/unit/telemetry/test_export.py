"""Spans on the wire, read back by a decoder of protobuf's wire format that knows nothing of the encoder."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest

from crio.base.errors import Unavailable
from crio.telemetry.export import WAITING, Exporter
from crio.telemetry.otlp import encode_request
from crio.telemetry.trace import SERVER, Tracer
from log_records import of_crio


def decode(data: bytes) -> dict[int, list[Any]]:
    """Fields of one message: numbers for varint and fixed64, bytes for the rest."""
    fields: dict[int, list[Any]] = {}
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    while position < len(data):
        tag = varint()
        value: Any
        if tag & 7 == 0:
            value = varint()
        elif tag & 7 == 1:
            value = struct.unpack_from("<Q", data, position)[0]
            position += 8
        else:
            assert tag & 7 == 2
            size = varint()
            value = data[position : position + size]
            assert len(value) == size
            position += size
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def spans_of(request: bytes) -> list[dict[int, list[Any]]]:
    (resource_spans,) = decode(request)[1]
    (scope_spans,) = decode(resource_spans)[2]
    return [decode(span) for span in decode(scope_spans)[2]]


def attributes(pairs: list[bytes]) -> dict[str, str]:
    decoded = [decode(pair) for pair in pairs]
    return {pair[1][0].decode(): decode(pair[2][0])[1][0].decode() for pair in decoded}


def test_a_request() -> None:
    tracer = Tracer()
    with pytest.raises(ValueError, match="broken"), tracer.span("RunPodSandbox", kind=SERVER, pod="ä" * 100):  # noqa: PT012
        with tracer.span("network"):
            pass
        raise ValueError("broken")
    inner, outer = tracer.spans()
    request = encode_request([inner, outer], {"service.name": "crio", "host.name": "n"}, "crio", "1.36.0")
    (resource_spans,) = decode(request)[1]
    assert attributes(decode(decode(resource_spans)[1][0])[1]) == {"service.name": "crio", "host.name": "n"}
    scope = decode(decode(decode(resource_spans)[2][0])[1][0])
    assert scope == {1: [b"crio"], 2: [b"1.36.0"]}
    first, second = spans_of(request)
    assert first[1] == second[1] == [bytes.fromhex(outer.context.trace_id)]
    assert first[4] == second[2] == [bytes.fromhex(outer.context.span_id)]
    assert 4 not in second
    assert (second[5], second[6]) == ([b"RunPodSandbox"], [2])
    assert (second[7], second[8]) == ([outer.start_ns], [outer.end_ns])
    assert attributes(second[9]) == {"pod": "ä" * 100}
    assert decode(second[15][0]) == {2: [b"broken"], 3: [2]}
    assert decode(first[15][0]) == {3: [1]}


class Collector:
    """Takes requests, or refuses them."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.broken = False
        self.got = asyncio.Event()

    async def send(self, request: bytes) -> None:
        if self.broken:
            raise Unavailable("cannot connect to it")
        self.requests.append(request)
        self.got.set()

    def names(self) -> list[bytes]:
        return [span[5][0] for request in self.requests for span in spans_of(request)]


async def test_spans_are_sent_after_a_while_or_at_the_end() -> None:
    collector = Collector()
    exporter = Exporter(collector.send, version="1", resource={}, interval=0.01)
    tracer = Tracer(1_000_000, export=exporter.add)
    task = asyncio.create_task(exporter.run())
    tracer.record("a", 0.0)
    await collector.got.wait()
    task.cancel()
    tracer.record("b", 0.0)
    await exporter.flush()
    assert collector.names() == [b"a", b"b"]
    await asyncio.wait([task])


async def test_an_absent_collector_costs_spans_and_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    collector = Collector()
    exporter = Exporter(collector.send, version="1", resource={})
    tracer = Tracer(1_000_000, export=exporter.add)
    collector.broken = True
    for _ in range(3):
        tracer.record("lost", 0.0)
        await exporter.flush()
    collector.broken = False
    tracer.record("kept", 0.0)
    await exporter.flush()
    assert exporter.dropped == 3
    assert collector.names() == [b"kept"]
    assert [record.levelname for record in of_crio(caplog) if record.levelname == "WARNING"] == ["WARNING"]


async def test_what_waits_is_limited() -> None:
    collector = Collector()
    exporter = Exporter(collector.send, version="1", resource={})
    tracer = Tracer(1_000_000, export=exporter.add)
    for number in range(WAITING + 5):
        tracer.record(str(number), 0.0)
    await exporter.flush()
    assert exporter.dropped == 5
    assert len(collector.names()) == WAITING
    assert collector.names()[0] == b"5"
