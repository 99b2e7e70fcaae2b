from __future__ import annotations

import asyncio
import pstats
import tracemalloc
from pathlib import Path

import pytest

from crio.base.errors import FailedPrecondition, InvalidArgument, Unavailable
from crio.daemon.profiling import cpu_profile, profiled, serve_profiles
from crio.wire.http1 import Request, Response


def test_files_are_written_at_the_end(tmp_path: Path) -> None:
    with profiled({"profile-cpu": str(tmp_path / "cpu"), "profile-mem": str(tmp_path / "mem")}):
        sum(len(str(number)) for number in range(1000))
        assert not list(tmp_path.iterdir())
    assert "genexpr" in str(pstats.Stats(str(tmp_path / "cpu")).stats)  # type: ignore[attr-defined]
    assert tracemalloc.Snapshot.load(str(tmp_path / "mem")).traces is not None
    assert not tracemalloc.is_tracing()


def test_without_flags_nothing_is_measured() -> None:
    with profiled({}):
        assert not tracemalloc.is_tracing()


def test_a_file_that_cannot_be_written_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with profiled({"profile-cpu": str(tmp_path / "no" / "cpu")}):
        pass
    assert "cannot write the profile" in caplog.text


async def test_one_profile_at_a_time() -> None:
    first = asyncio.create_task(cpu_profile("1"))
    await asyncio.sleep(0)
    with pytest.raises(FailedPrecondition, match="another profile"):
        await cpu_profile("1")
    assert "cumulative" in await first


def test_a_profile_that_is_asked_for_is_in_the_file_too(tmp_path: Path) -> None:
    def before() -> None: ...
    def meanwhile() -> None: ...
    def after() -> None: ...

    async def main() -> str:
        before()
        asked = asyncio.create_task(cpu_profile("1"))
        await asyncio.sleep(0)
        meanwhile()
        table = await asked
        after()
        return table

    with profiled({"profile-cpu": str(tmp_path / "cpu")}):
        table = asyncio.run(main())
    whole = str(pstats.Stats(str(tmp_path / "cpu")).stats)  # type: ignore[attr-defined]
    assert "meanwhile" in table
    assert "before" not in table
    assert all(f"'{name}'" in whole for name in ("before", "meanwhile", "after"))


@pytest.mark.parametrize("seconds", ["0", "-1", "301", "x", "1.5", "²"])
async def test_times_that_are_none(seconds: str) -> None:
    with pytest.raises(InvalidArgument, match="from 1 to 300"):
        await cpu_profile(seconds)


async def test_serving_on_a_port() -> None:
    async def handler(request: Request) -> Response:
        return Response(200, request.path.encode(), "text/plain")

    server = await serve_profiles(handler, "0")
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /debug/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).endswith(b"/debug/x")
    writer.close()
    with pytest.raises(Unavailable, match="already in use"):
        await serve_profiles(handler, str(port))
    server.close()
    with pytest.raises(InvalidArgument, match="no port number"):
        await serve_profiles(handler, "70000")
