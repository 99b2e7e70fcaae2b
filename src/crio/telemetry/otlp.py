"""Spans as the OpenTelemetry protocol's ExportTraceServiceRequest (opentelemetry-proto 1.x), encoded by hand.

The message is small and only ever written, so that this needs no generated code.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from crio.telemetry.trace import Span

METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

_BYTES, _FIXED64 = 2, 1
_STATUS_OK, _STATUS_ERROR = 1, 2


def encode_request(spans: Iterable[Span], resource: Mapping[str, str], scope: str, version: str) -> bytes:
    """One request with all spans, which share a resource (who made them) and a scope (with what)."""
    scope_message = _text(1, scope) + _text(2, version)
    scope_spans = _bytes(1, scope_message) + b"".join(_bytes(2, _span(span)) for span in spans)
    resource_message = b"".join(_bytes(1, _attribute(name, value)) for name, value in resource.items())
    return _bytes(1, _bytes(1, resource_message) + _bytes(2, scope_spans))


def _span(span: Span) -> bytes:
    parts = [
        _bytes(1, bytes.fromhex(span.context.trace_id)),
        _bytes(2, bytes.fromhex(span.context.span_id)),
        _bytes(4, bytes.fromhex(span.parent_id)) if span.parent_id else b"",
        _text(5, span.name),
        _number(6, span.kind),
        _fixed64(7, span.start_ns),
        _fixed64(8, span.end_ns),
        *(_bytes(9, _attribute(name, value)) for name, value in span.attributes.items()),
    ]
    if span.error:
        parts.append(_bytes(15, _text(2, span.error) + _number(3, _STATUS_ERROR)))
    else:
        parts.append(_bytes(15, _number(3, _STATUS_OK)))
    return b"".join(parts)


def _attribute(name: str, value: str) -> bytes:
    return _text(1, name) + _bytes(2, _text(1, value))


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(content)) + content


def _text(field: int, content: str) -> bytes:
    return _bytes(field, content.encode("utf-8", "replace"))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _fixed64(field: int, value: int) -> bytes:
    return _varint(field << 3 | _FIXED64) + struct.pack("<Q", value)
