"""Spans as the OpenTelemetry protocol's ExportTraceServiceRequest (opentelemetry-proto 1.x), encoded by hand.

The message is small and only ever written, so that this needs no generated code.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from crio.base.protobuf import field, number_field, varint
from crio.telemetry.trace import Span

METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

_FIXED64 = 1
_STATUS_OK, _STATUS_ERROR = 1, 2


def encode_request(spans: Iterable[Span], resource: Mapping[str, str], scope: str, version: str) -> bytes:
    """One request with all spans, which share a resource (who made them) and a scope (with what)."""
    scope_message = _text(1, scope) + _text(2, version)
    scope_spans = field(1, scope_message) + b"".join(field(2, _span(span)) for span in spans)
    resource_message = b"".join(field(1, _attribute(name, value)) for name, value in resource.items())
    return field(1, field(1, resource_message) + field(2, scope_spans))


def _span(span: Span) -> bytes:
    parts = [
        field(1, bytes.fromhex(span.context.trace_id)),
        field(2, bytes.fromhex(span.context.span_id)),
        field(4, bytes.fromhex(span.parent_id)) if span.parent_id else b"",
        _text(5, span.name),
        number_field(6, span.kind),
        _fixed64(7, span.start_ns),
        _fixed64(8, span.end_ns),
        *(field(9, _attribute(name, value)) for name, value in span.attributes.items()),
    ]
    if span.error:
        parts.append(field(15, _text(2, span.error) + number_field(3, _STATUS_ERROR)))
    else:
        parts.append(field(15, number_field(3, _STATUS_OK)))
    return b"".join(parts)


def _attribute(name: str, value: str) -> bytes:
    return _text(1, name) + field(2, _text(1, value))


def _text(number: int, content: str) -> bytes:
    return field(number, content.encode("utf-8", "replace"))


def _fixed64(number: int, value: int) -> bytes:
    return varint(number << 3 | _FIXED64) + struct.pack("<Q", value)
