"""Traces against a collector that is built on the reference implementation of gRPC."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator

import grpc  # type: ignore[import-untyped]
import pytest

from crio.base.errors import CrioError, InvalidArgument, Unavailable
from crio.rpc.trace_sender import TraceSender
from crio.telemetry.export import Exporter
from crio.telemetry.otlp import METHOD
from crio.telemetry.trace import Tracer


class Collector:
    """Keeps what it is sent; refuses when it is told to."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.full = False

    def export(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        if self.full:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        self.requests.append(request)
        return b""


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    handler = Collector()
    _, service, name = METHOD.split("/")
    methods = {name: grpc.unary_unary_rpc_method_handler(handler.export)}
    server = grpc.server(
        concurrent.futures.ThreadPoolExecutor(2),
        handlers=[grpc.method_handlers_generic_handler(service, methods)],
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield handler, f"127.0.0.1:{port}"
    server.stop(None).wait()


async def test_spans_reach_the_collector(collector: tuple[Collector, str]) -> None:
    handler, endpoint = collector
    sender = TraceSender(endpoint, METHOD)
    exporter = Exporter(sender.send, version="1", resource={})
    tracer = Tracer(1_000_000, export=exporter.add)
    with tracer.span("RunPodSandbox", pod="abc"):
        pass
    await exporter.flush()
    assert len(handler.requests) == 1
    assert b"RunPodSandbox" in handler.requests[0]
    handler.full = True
    with pytest.raises(CrioError, match="full"):
        await sender.send(b"")
    await sender.close()


async def test_an_absent_collector() -> None:
    sender = TraceSender("127.0.0.1:1", METHOD)
    with pytest.raises(Unavailable, match=r"cannot connect to 127\.0\.0\.1:1"):
        await sender.send(b"")


@pytest.mark.parametrize("endpoint", ["", "host", "host:x", ":4317", "host:0", "host:65536", "host:" + "1" * 5000])
def test_an_endpoint_needs_host_and_port(endpoint: str) -> None:
    with pytest.raises(InvalidArgument, match="HOST:PORT"):
        TraceSender(endpoint, METHOD)
