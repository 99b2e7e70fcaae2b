from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from crio.base.errors import DeadlineExceeded, Unavailable
from crio.rpc.http_client import http_get
from crio.rpc.server import Server
from crio.wire.http1 import Request, Response


async def test_get_with_any_status(tmp_path: Path) -> None:
    async def handler(request: Request) -> Response:
        return Response(200 if request.path == "/info" else 404, b"x" * 100_000, "text/plain")

    server = Server({}, http_handler=handler)
    await server.listen(str(tmp_path / "s"))
    assert len((await http_get(str(tmp_path / "s"), "/info")).body) == 100_000
    assert (await http_get(str(tmp_path / "s"), "/other")).status == 404
    await server.stop(0)


async def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="is the daemon running"):
        await http_get(str(tmp_path / "s"), "/info")


async def test_server_that_never_answers(tmp_path: Path) -> None:
    async def handler(request: Request) -> Response:
        await asyncio.sleep(60)
        return Response(200)

    server = Server({}, http_handler=handler)
    await server.listen(str(tmp_path / "s"))
    with pytest.raises(DeadlineExceeded):
        await http_get(str(tmp_path / "s"), "/info", timeout=0.05)
    await server.stop(0)
