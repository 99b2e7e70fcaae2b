"""An OTLP collector on the reference implementation of gRPC, and a decoder that knows nothing of our encoder."""

from __future__ import annotations

import concurrent.futures
import contextlib
import struct
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import grpc  # type: ignore[import-untyped]

METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class ReceivedSpan(NamedTuple):
    """A span, with the resource it came from."""

    trace: str
    id: str
    parent: str
    name: str
    start: int
    end: int
    failed: bool
    attributes: dict[str, str]
    resource: dict[str, str]


class Collector:
    """What has been received so far."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: list[ReceivedSpan] = []

    def spans(self) -> list[ReceivedSpan]:
        with self._lock:
            return list(self._spans)

    def export(self, request: bytes, _: grpc.ServicerContext) -> bytes:
        with self._lock:
            self._spans += list(spans_of(request))
        return b""


@contextlib.contextmanager
def collector() -> Iterator[tuple[Collector, str]]:
    """A running collector, and HOST:PORT of it."""
    keeper = Collector()
    _, service, name = METHOD.split("/")
    methods = {name: grpc.unary_unary_rpc_method_handler(keeper.export)}
    server = grpc.server(
        concurrent.futures.ThreadPoolExecutor(2),
        handlers=[grpc.method_handlers_generic_handler(service, methods)],
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield keeper, f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def spans_of(request: bytes) -> Iterator[ReceivedSpan]:
    """The spans of an ExportTraceServiceRequest (opentelemetry-proto 1.x: trace_service.proto, trace.proto)."""
    for group in decode(request)[1]:
        fields = decode(group)
        resource = _attributes(decode(fields[1][0]).get(1, []))
        for scope in fields[2]:
            for span in decode(scope)[2]:
                yield _span(decode(span), resource)


def _span(fields: dict[int, list[Any]], resource: dict[str, str]) -> ReceivedSpan:
    status = decode(fields[15][0]) if 15 in fields else {}
    return ReceivedSpan(
        trace=fields[1][0].hex(),
        id=fields[2][0].hex(),
        parent=fields[4][0].hex() if 4 in fields else "",
        name=fields[5][0].decode(),
        start=fields[7][0],
        end=fields[8][0],
        failed=status.get(3) == [2],
        attributes=_attributes(fields.get(9, [])),
        resource=resource,
    )


def _attributes(pairs: list[bytes]) -> dict[str, str]:
    decoded = [decode(pair) for pair in pairs]
    return {pair[1][0].decode(): decode(pair[2][0])[1][0].decode() for pair in decoded}


def decode(data: bytes) -> dict[int, list[Any]]:
    """Fields of one protobuf message: numbers for varint and fixed64, bytes for the rest."""
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
