"""Prometheus' text format, version 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

from __future__ import annotations

import math
from collections.abc import Iterable

from crio.telemetry.metric import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def write(metrics: Iterable[Metric]) -> str:
    """All metrics with their help and type. A metric without a value is left out."""
    lines: list[str] = []
    for metric in metrics:
        head = len(lines)
        for sample in metric.samples():
            text = ",".join(f'{name}="{_label(content)}"' for name, content in sample.labels)
            lines.append(f"{metric.name}{sample.suffix}{'{' + text + '}' if text else ''} {_number(sample.value)}\n")
        if len(lines) > head:
            lines.insert(head, f"# HELP {metric.name} {_help(metric.text)}\n# TYPE {metric.name} {metric.kind}\n")
    return "".join(lines)


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
