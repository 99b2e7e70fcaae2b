from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from crio.telemetry.trace import (
    SERVER,
    Span,
    SpanContext,
    Tracer,
    current,
    parse_traceparent,
)

CALLER = SpanContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", True)


def test_traceparent_of_this_and_of_a_later_version() -> None:
    header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert parse_traceparent(header) == CALLER
    assert parse_traceparent("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more") == replace(
        CALLER, sampled=False
    )


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
    ],
)
def test_no_traceparent(header: str) -> None:
    assert parse_traceparent(header) is None


def test_spans_nest_and_are_kept_when_they_end() -> None:
    tracer = Tracer()
    with tracer.span("outer", kind=SERVER, pod="abc") as outer:
        assert current() is outer
        with tracer.span("inner") as inner:
            inner.set(step="1")
        record = tracer.record("past", 0.5, error="late")
    assert current() is None
    assert [span.name for span in tracer.spans()] == ["inner", "past", "outer"]
    assert inner.parent_id == record.parent_id == outer.context.span_id
    assert inner.context.trace_id == outer.context.trace_id
    assert outer.start_ns <= inner.start_ns <= inner.end_ns <= outer.end_ns
    assert record.seconds == pytest.approx(0.5)
    assert (outer.parent_id, outer.error, record.error) == ("", "", "late")


def test_an_error_is_noted_and_goes_on() -> None:
    tracer = Tracer()
    with pytest.raises(ValueError, match="no"), tracer.span("x"):
        raise ValueError("no")
    assert tracer.spans()[0].error == "no"


async def test_tasks_belong_to_the_span_they_were_started_in() -> None:
    tracer = Tracer()

    async def work(name: str) -> None:
        with tracer.span(name):
            await asyncio.sleep(0)

    with tracer.span("job") as job:
        await asyncio.gather(work("a"), work("b"))
    assert {span.parent_id for span in tracer.spans() if span.name != "job"} == {job.context.span_id}


def test_sampling_is_the_callers_decision_or_chance() -> None:
    exported: list[Span] = []
    tracer = Tracer(250_000, export=exported.append, chance=iter([0.2, 0.3]).__next__)
    for name in ("lucky", "unlucky"):
        with tracer.span(name), tracer.span("part"):
            pass
    with tracer.span("called", caller=CALLER):
        pass
    with tracer.span("not wanted", caller=replace(CALLER, sampled=False)):
        pass
    assert [span.name for span in exported] == ["part", "lucky", "called"]
    assert exported[2].parent_id == CALLER.span_id
    assert len(tracer.spans()) == 6


def test_the_ring_is_limited_and_long_texts_are_cut() -> None:
    tracer = Tracer(kept=3)
    for number in range(5):
        tracer.record(str(number), 0.0, x="y" * 5000)
    assert [span.name for span in tracer.spans()] == ["2", "3", "4"]
    assert len(tracer.spans()[0].attributes["x"]) == 1024


def test_traces_of_a_pod() -> None:
    tracer = Tracer()
    for name, pod in (("run", "abc123"), ("run", "def456"), ("stop", "abc123")):
        with tracer.span(name), tracer.span("part", pod=pod):
            pass
    found = tracer.traces_with("abc", ["pod"])
    assert [[span.name for span in spans] for spans in found] == [["run", "part"], ["stop", "part"]]
    assert tracer.traces_with("abc", ["container"]) == []
