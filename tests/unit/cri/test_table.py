"""Every call of the interface has its function, of the kind that the interface says."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri import table
from small_node import SmallNode

SERVICES = {"RuntimeService": table.RUNTIME_CALLS, "ImageService": table.IMAGE_CALLS}


def test_the_interface_has_41_calls() -> None:
    assert sum(len(pb.DESCRIPTOR.services_by_name[name].methods) for name in SERVICES) == 41


@pytest.mark.parametrize("service", SERVICES)
def test_every_call_is_answered(service: str) -> None:
    known = {method.name for method in pb.DESCRIPTOR.services_by_name[service].methods}
    assert set(SERVICES[service]) == known


@pytest.mark.parametrize("service", SERVICES)
def test_streams_are_generators_and_the_others_coroutines(service: str) -> None:
    for method in pb.DESCRIPTOR.services_by_name[service].methods:
        function = SERVICES[service].get(method.name)
        if function is not None:
            assert inspect.isasyncgenfunction(function) == method.server_streaming, method.name
            assert inspect.iscoroutinefunction(function) != method.server_streaming, method.name


@pytest.mark.parametrize("service", SERVICES)
def test_functions_take_what_the_interface_sends(service: str) -> None:
    """The annotations are text; they name the request's and the response's message."""
    for method in pb.DESCRIPTOR.services_by_name[service].methods:
        function = SERVICES[service].get(method.name)
        if function is None:
            continue
        signature = inspect.signature(function)
        assert signature.parameters["request"].annotation == f"pb.{method.input_type.name}", method.name
        answer = f"pb.{method.output_type.name}"
        expected = f"AsyncIterator[{answer}]" if method.server_streaming else answer
        # Long lists are put together of parts that were encoded before.
        encoded = "AsyncIterator[bytes]" if method.server_streaming else "bytes"
        assert signature.return_annotation in (expected, encoded), method.name


async def test_paths(tmp_path: Path) -> None:
    methods = table.methods(SmallNode(tmp_path).node)
    assert len(methods) == len(table.RUNTIME_CALLS) + len(table.IMAGE_CALLS)
    version = methods["/runtime.v1.RuntimeService/Version"]
    assert (version.request_type, version.streaming) == (pb.VersionRequest, False)
    assert methods["/runtime.v1.ImageService/StreamImages"].streaming
