from __future__ import annotations

from typing import Any

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.rpc.service import Context, service_table

SERVICE = pb.DESCRIPTOR.services_by_name["RuntimeService"]


async def handler(request: Any, context: Context) -> Any:
    return None


def test_types_and_kinds_come_from_the_descriptor() -> None:
    table = service_table(SERVICE, {"Version": handler, "GetContainerEvents": handler})
    version = table["/runtime.v1.RuntimeService/Version"]
    assert (version.request_type, version.streaming) == (pb.VersionRequest, False)
    assert table["/runtime.v1.RuntimeService/GetContainerEvents"].streaming


def test_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="Versoin"):
        service_table(SERVICE, {"Versoin": handler})
