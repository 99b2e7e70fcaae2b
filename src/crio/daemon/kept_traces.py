"""Which of the kept traces are about a pod, container or image, also where they name it by another name or id."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from crio.telemetry.trace import Span, Tracer

_ANY = ("pod", "pod_name", "container", "container_name", "image")


def traces_about(tracer: Tracer, subject: str) -> list[list[Span]]:
    """Traces with `subject` as an id or name, or the beginning of one, oldest first.

    Of a pod also those that know it by its id alone, and those of its containers.
    """
    if not subject:
        return []
    found = _by_id(tracer.traces_with(subject, _ANY))
    pods = _values(found.values(), "pod", lambda span: _is_pod(span, subject))
    for pod in pods:
        found |= _by_id(tracer.traces_with(pod, ("pod",)))
    for container in _values(found.values(), "container", lambda span: span.attributes.get("pod") in pods):
        found |= _by_id(tracer.traces_with(container, ("container",)))
    return sorted(found.values(), key=lambda trace: trace[0].start_ns)


def _is_pod(span: Span, subject: str) -> bool:
    return any(span.attributes.get(name, "").startswith(subject) for name in ("pod", "pod_name"))


def _by_id(traces: Iterable[list[Span]]) -> dict[str, list[Span]]:
    return {trace[0].context.trace_id: trace for trace in traces}


def _values(traces: Iterable[list[Span]], name: str, wanted: Callable[[Span], bool]) -> set[str]:
    return {span.attributes[name] for trace in traces for span in trace if name in span.attributes and wanted(span)}
