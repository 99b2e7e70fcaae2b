"""Values of metrics as the CRI's messages, encoded: a full node has tens of thousands of them in one answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache

import msgspec

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.protobuf import field, number_field, repeated, varint
from crio.stats.descriptors import ALWAYS, DESCRIPTORS

_TIMESTAMP, _LABEL, _VALUE = 2, 4, 5
"""Fields of a Metric."""


class Value(msgspec.Struct, frozen=True):
    """One value; `labels` are those beyond the base ones. The CRI has whole numbers only."""

    name: str
    value: int
    labels: tuple[str, ...] = ()


def metrics(values: Iterable[Value], base: Sequence[str], now: int) -> bytes:
    """A repeated field of Metric messages, as pods and containers have it. `base` are the labels that all have."""
    common = number_field(_TIMESTAMP, now) + _labels(tuple(base))
    parts = []
    for value in values:
        labels = value.labels
        # The one that is always told says by its value that the container is there, also for a pod without groups.
        assert DESCRIPTORS[value.name].group == ALWAYS or len(labels) == len(DESCRIPTORS[value.name].labels)
        head = _head(value.name)
        parts.append(b"%b%b%b%b" % (head, common, _more_labels(labels) if labels else b"", _number(value.value)))
    return repeated(2, parts)


def of_container(container_id: str, encoded: bytes) -> bytes:
    """The field of a PodSandboxMetrics with a container's metrics."""
    return field(3, field(1, container_id.encode()) + encoded)


def of_sandbox(sandbox_id: str, parts: Iterable[bytes]) -> bytes:
    """A whole PodSandboxMetrics."""
    return b"".join((field(1, sandbox_id.encode()), *parts))


@cache
def _head(name: str) -> bytes:
    """What all values of a metric begin with; there is one for each of the table."""
    kind = pb.COUNTER if DESCRIPTORS[name].counter else pb.GAUGE
    return pb.Metric(name=name, metric_type=kind).SerializeToString()


def _labels(labels: tuple[str, ...]) -> bytes:
    return b"".join(field(_LABEL, label.encode()) for label in labels)


_more_labels = lru_cache(maxsize=512)(_labels)
"""Devices, interfaces, page sizes: the same ones for all containers."""


def _number(value: int) -> bytes:
    """The field of the value: a message with one number, which is left out when it is 0."""
    if not value:
        return _ZERO
    number = b"\x08" + varint(value)
    return b"%b%c%b" % (_VALUE_TAG, len(number), number)


_ZERO = field(_VALUE, b"")
_VALUE_TAG = _ZERO[:1]
