from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import AlreadyExists, Code, FailedPrecondition, NotFound
from crio.rpc.client import Client
from crio.rpc.server import Server
from crio.rpc.service import Context, Method, service_table
from crio.rpc.status import RpcError, status_of
from crio.wire.http1 import Request, Response, ResponseReader, encode_request
from crio.wire.http2 import PREFACE, Http2Connection
from crio.wire.http2_events import ErrorCode, StreamReset
from log_records import of_crio
from loop_clock import pass_seconds

SERVICE = "/runtime.v1.RuntimeService/"


class Runtime:
    """The handlers of these tests, and what they saw."""

    def __init__(self) -> None:
        self.contexts: list[Context] = []
        self.cancelled = asyncio.Event()
        self.waiting = asyncio.Event()
        self.release = asyncio.Event()
        self.closed = asyncio.Event()

    async def version(self, request: pb.VersionRequest, context: Context) -> pb.VersionResponse:
        self.contexts.append(context)
        return pb.VersionResponse(version=request.version, runtime_name="cri-o")

    async def container_status(self, request: Any, context: Context) -> pb.ContainerStatusResponse:
        raise NotFound("cannot find container “x”: 100% gone")

    async def run_pod_sandbox(self, request: Any, context: Context) -> pb.RunPodSandboxResponse:
        raise ValueError("secret\nof ours")

    async def stop_container(self, request: Any, context: Context) -> pb.StopContainerResponse:
        self.waiting.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return pb.StopContainerResponse()

    async def exec_sync(self, request: pb.ExecSyncRequest, context: Context) -> bytes:
        return pb.ExecSyncResponse(stdout=request.cmd[0].encode() * 1000).SerializeToString()

    async def events(self, request: Any, context: Context) -> AsyncIterator[pb.ContainerEventResponse]:
        try:
            for number in range(3):
                yield pb.ContainerEventResponse(container_id=str(number))
            self.waiting.set()
            await self.release.wait()
        finally:
            self.closed.set()

    async def containers(self, request: Any, context: Context) -> AsyncIterator[pb.StreamContainersResponse]:
        for number in range(3):
            yield pb.StreamContainersResponse(containers=[pb.Container(id=str(number))])
        raise NotFound("cannot list more: the end")

    def table(self) -> dict[str, Method]:
        return service_table(
            pb.DESCRIPTOR.services_by_name["RuntimeService"],
            {
                "Version": self.version,
                "ContainerStatus": self.container_status,
                "RunPodSandbox": self.run_pod_sandbox,
                "StopContainer": self.stop_container,
                "ExecSync": self.exec_sync,
                "GetContainerEvents": self.events,
                "StreamContainers": self.containers,
            },
        )


class Bed:
    def __init__(self, path: Path, **options: Any) -> None:
        self.path = str(path / "crio.sock")
        self.runtime = Runtime()
        self.server = Server(self.runtime.table(), **options)
        self.client = Client(f"unix://{self.path}")

    async def __aenter__(self) -> Bed:
        await self.server.listen(self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
        await self.server.stop(0)

    async def version(self, client: Client | None = None, **options: Any) -> str:
        request = pb.VersionRequest(version="v1")
        response = await (client or self.client).unary(f"{SERVICE}Version", request, pb.VersionResponse, 60, **options)
        return response.version

    async def calls_end(self) -> None:
        while running := list(self.server._service.running):
            await asyncio.wait(running)


async def consume(stream: AsyncIterator[Any]) -> None:
    async for _ in stream:
        pass


async def test_unary_call_with_context(tmp_path: Path) -> None:
    async with Bed(tmp_path) as bed:
        assert await bed.version(metadata={"x-request-id": "abc"}) == "v1"
        assert await bed.version() == "v1"
        first, second = bed.runtime.contexts
        assert first.request_id == "abc"
        assert second.request_id not in ("", "abc")
        assert first.peer is not None
        assert (first.peer.pid, first.peer.uid) == (os.getpid(), os.getuid())
        assert first.deadline is not None
        assert first.deadline <= asyncio.get_running_loop().time() + 60


async def test_errors_become_statuses(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with Bed(tmp_path) as bed:
        with pytest.raises(RpcError) as caught:
            await bed.client.unary(
                f"{SERVICE}ContainerStatus", pb.ContainerStatusRequest(), pb.ContainerStatusResponse, 60
            )
        assert (caught.value.code, caught.value.message) == (
            Code.NOT_FOUND,
            "cannot find container “x”: 100% gone",
        )
        assert of_crio(caplog) == []
        with pytest.raises(RpcError) as caught:
            await bed.client.unary(f"{SERVICE}RunPodSandbox", pb.RunPodSandboxRequest(), pb.RunPodSandboxResponse, 60)
        assert (caught.value.code, caught.value.message) == (
            Code.INTERNAL,
            "internal error: ValueError: secret of ours",
        )
        assert [record.levelno for record in of_crio(caplog)] == [logging.ERROR]


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (f"{SERVICE}Status", "unknown method Status for service runtime.v1.RuntimeService"),
        ("/runtime.v1.ImageService/ListImages", "unknown service runtime.v1.ImageService"),
        ("/", "unknown service "),
    ],
)
async def test_unknown_method_or_service_is_unimplemented(tmp_path: Path, method: str, text: str) -> None:
    async with Bed(tmp_path) as bed:
        with pytest.raises(RpcError) as caught:
            await bed.client.unary(method, pb.StatusRequest(), pb.StatusResponse, 60)
        assert (caught.value.code, caught.value.message) == (Code.UNIMPLEMENTED, text)


async def test_streaming_call(tmp_path: Path) -> None:
    async with Bed(tmp_path) as bed:
        method = f"{SERVICE}StreamContainers"
        stream = bed.client.stream(method, pb.StreamContainersRequest(), pb.StreamContainersResponse)
        assert [(await anext(stream)).containers[0].id for _ in range(3)] == ["0", "1", "2"]
        with pytest.raises(RpcError, match="the end") as caught:
            await anext(stream)
        assert caught.value.code is Code.NOT_FOUND


async def test_leaving_a_stream_ends_its_generator(tmp_path: Path) -> None:
    async with Bed(tmp_path) as bed:
        stream = bed.client.stream(f"{SERVICE}GetContainerEvents", pb.GetEventsRequest(), pb.ContainerEventResponse)
        assert (await anext(stream)).container_id == "0"
        await stream.aclose()
        await asyncio.wait_for(bed.runtime.closed.wait(), 60)
        await bed.calls_end()


async def test_deadline_cancels_the_handler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Bed(tmp_path) as bed:
        request = pb.StopContainerRequest()
        call = asyncio.create_task(bed.client.unary(f"{SERVICE}StopContainer", request, pb.StopContainerResponse, 30))
        await bed.runtime.waiting.wait()
        pass_seconds(monkeypatch, 31)
        with pytest.raises(RpcError) as caught:
            await call
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        await asyncio.wait_for(bed.runtime.cancelled.wait(), 60)


async def test_lost_connection_cancels_the_handler(tmp_path: Path) -> None:
    async with Bed(tmp_path) as bed:
        request = pb.StopContainerRequest()
        call = asyncio.create_task(bed.client.unary(f"{SERVICE}StopContainer", request, pb.StopContainerResponse))
        await bed.runtime.waiting.wait()
        await bed.client.close()
        await asyncio.wait_for(bed.runtime.cancelled.wait(), 60)
        with pytest.raises(RpcError):
            await call


async def test_graceful_stop_answers_what_runs_and_refuses_what_is_new(tmp_path: Path) -> None:
    async with Bed(tmp_path) as bed:
        request = pb.StopContainerRequest()
        call = asyncio.create_task(bed.client.unary(f"{SERVICE}StopContainer", request, pb.StopContainerResponse))
        await bed.runtime.waiting.wait()
        stop = asyncio.create_task(bed.server.stop(60))
        await asyncio.sleep(0)
        assert not os.path.exists(bed.path)
        with pytest.raises(RpcError) as caught:
            await bed.version()
        assert caught.value.code is Code.UNAVAILABLE
        bed.runtime.release.set()
        assert await call == pb.StopContainerResponse()
        await stop
        assert bed.server.statistics()["calls"] == 0


async def test_stop_cancels_what_does_not_end_in_time(tmp_path: Path) -> None:
    async with Bed(tmp_path) as bed:
        request = pb.StopContainerRequest()
        call = asyncio.create_task(bed.client.unary(f"{SERVICE}StopContainer", request, pb.StopContainerResponse))
        await bed.runtime.waiting.wait()
        await bed.server.stop(0.01)
        assert bed.runtime.cancelled.is_set()
        with pytest.raises(RpcError) as caught:
            await call
        assert caught.value.code is Code.UNAVAILABLE


async def test_large_messages_both_ways(tmp_path: Path) -> None:
    async with Bed(tmp_path) as bed:
        text = "x" * 5_000
        request = pb.ExecSyncRequest(cmd=[text, "y" * 10_000_000])
        response = await bed.client.unary(f"{SERVICE}ExecSync", request, pb.ExecSyncResponse, 60)
        assert response.stdout == text.encode() * 1000
        assert bed.server.statistics()["receiving_bytes"] == 0


async def test_message_limits(tmp_path: Path) -> None:
    async with Bed(tmp_path, max_receive=10_000, max_send=10_000) as bed:
        for command in ("z" * 20_000, "z" * 11):
            request = pb.ExecSyncRequest(cmd=[command])
            with pytest.raises(RpcError) as caught:
                await bed.client.unary(f"{SERVICE}ExecSync", request, pb.ExecSyncResponse, 60)
            assert caught.value.code is Code.RESOURCE_EXHAUSTED
        assert await bed.version() == "v1"
        assert bed.server.statistics()["receiving_bytes"] == 0


async def test_interceptors_wrap_calls_in_order(tmp_path: Path) -> None:
    log: list[str] = []

    def interceptor(name: str) -> Callable[..., Any]:
        async def intercept(method: Method, request: Any, context: Context, call_next: Any) -> Any:
            log.append(f"{name} {method.name}")
            try:
                return await call_next(request, context)
            except Exception as error:
                log.append(f"{name} {status_of(error)[0].name}")
                raise

        return intercept

    async with Bed(tmp_path, interceptors=[interceptor("a"), interceptor("b")]) as bed:
        await bed.version()
        method = f"{SERVICE}StreamContainers"
        stream = bed.client.stream(method, pb.StreamContainersRequest(), pb.StreamContainersResponse)
        with pytest.raises(RpcError):
            await consume(stream)
    assert log == [
        "a Version",
        "b Version",
        "a StreamContainers",
        "b StreamContainers",
        "b NOT_FOUND",
        "a NOT_FOUND",
    ]


def call_grpcio(path: str) -> dict[str, Any]:
    """What an independent implementation sees, over one channel."""
    seen: dict[str, Any] = {}
    with grpc.insecure_channel(f"unix://{path}", options=[("grpc.keepalive_time_ms", 10_000)]) as channel:
        version = channel.unary_unary(
            f"{SERVICE}Version", pb.VersionRequest.SerializeToString, pb.VersionResponse.FromString
        )
        seen["versions"] = {version(pb.VersionRequest(version=str(n)), timeout=60).version for n in range(50)}
        futures = [version.future(pb.VersionRequest(version="p"), timeout=60) for _ in range(100)]
        seen["parallel"] = {future.result().version for future in futures}
        big = channel.unary_unary(
            f"{SERVICE}ExecSync", pb.ExecSyncRequest.SerializeToString, pb.ExecSyncResponse.FromString
        )
        seen["big"] = len(big(pb.ExecSyncRequest(cmd=["ab", "z" * 3_000_000]), timeout=60).stdout)
        for name, timeout in (("ContainerStatus", 60), ("Status", 60), ("StopContainer", 0.3)):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(f"{SERVICE}{name}", bytes, bytes)(b"", timeout=timeout)
            seen[name] = (caught.value.code(), caught.value.details())
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(f"{SERVICE}ExecSync", bytes, bytes)(b"\xff\xff", timeout=60)
        seen["malformed"] = (caught.value.code(), caught.value.details())
        events = channel.unary_stream(
            f"{SERVICE}GetContainerEvents", pb.GetEventsRequest.SerializeToString, pb.ContainerEventResponse.FromString
        )(pb.GetEventsRequest())
        seen["events"] = [next(events).container_id for _ in range(3)]
        events.cancel()
    return seen


async def test_grpcio_client(tmp_path: Path) -> None:
    async with Bed(tmp_path) as bed:
        seen = await asyncio.to_thread(call_grpcio, bed.path)
        assert seen["versions"] == {str(number) for number in range(50)}
        assert seen["parallel"] == {"p"}
        assert seen["big"] == 2000
        assert seen["ContainerStatus"] == (grpc.StatusCode.NOT_FOUND, "cannot find container “x”: 100% gone")
        assert seen["Status"][0] is grpc.StatusCode.UNIMPLEMENTED
        assert seen["StopContainer"][0] is grpc.StatusCode.DEADLINE_EXCEEDED
        assert seen["malformed"] == (grpc.StatusCode.INTERNAL, "cannot read the request: it is no ExecSyncRequest")
        assert seen["events"] == ["0", "1", "2"]
        await asyncio.wait_for(bed.runtime.closed.wait(), 60)


async def test_http_is_served_beside_grpc(tmp_path: Path) -> None:
    async def handler(request: Request) -> Response:
        if request.path == "/missing":
            raise NotFound("cannot find it")
        if request.path == "/fault":
            raise ValueError("x")
        return Response(200, f"{request.method} {request.path}".encode(), "text/plain")

    async with Bed(tmp_path, http_handler=handler) as bed:
        reader, writer = await asyncio.open_unix_connection(bed.path)
        paths = ("/info", "/missing", "/fault", "/last")
        writer.write(b"".join(encode_request("GET", path, [("Host", "crio")]) for path in paths))
        parser = ResponseReader()
        seen: list[tuple[int, bytes]] = []
        while len(seen) < 4:
            parser.feed(await reader.read(1000))
            while (response := parser.next_response()) is not None:
                seen.append((response.status, response.body))
        assert seen[0] == (200, b"GET /info")
        assert seen[1] == (404, b"cannot find it\n")
        assert seen[2][0] == 500
        assert seen[3] == (200, b"GET /last")
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()
        assert await bed.version() == "v1"


async def test_first_bytes_may_come_one_by_one(tmp_path: Path) -> None:
    async with Bed(tmp_path) as bed:
        for data, answer in ((PREFACE, b"\0\0"), (b"PRI /x HTTP/1.1\r\nHost: a\r\n\r\n", b"HT")):
            reader, writer = await asyncio.open_unix_connection(bed.path)
            for octet in data:
                writer.write(bytes([octet]))
                await asyncio.sleep(0)
            assert (await reader.readexactly(2)) == answer
            writer.close()


async def test_connection_limit(tmp_path: Path) -> None:
    async with Bed(tmp_path, max_connections=2) as bed:
        assert await bed.version() == "v1"
        first = await asyncio.open_unix_connection(bed.path)
        second = await asyncio.open_unix_connection(bed.path)
        assert await second[0].read() == b""
        assert bed.server.statistics()["connections"] == 2
        first[1].close()
        second[1].close()


async def test_streams_that_are_reset_at_once_leave_nothing(tmp_path: Path) -> None:
    async with Bed(tmp_path) as bed:
        client = Http2Connection(client=True)
        reader, writer = await asyncio.open_unix_connection(bed.path)
        headers = [(":method", "POST"), (":path", f"{SERVICE}StopContainer"), ("content-type", "application/grpc")]
        for _ in range(2000):
            client.reset(client.open_stream(headers), ErrorCode.CANCEL)
        writer.write(client.take_output())
        client.ping(b"12345678")
        writer.write(client.take_output())
        while not any(not isinstance(event, StreamReset) for event in client.feed(await reader.read(65536))):
            pass
        await bed.calls_end()
        writer.close()
        assert await bed.version() == "v1"


async def test_client_that_never_reads_is_dropped(tmp_path: Path) -> None:
    async with Bed(tmp_path) as bed:
        client = Http2Connection(client=True)
        with socket.socket(socket.AF_UNIX) as rude:
            rude.setblocking(False)
            rude.connect(bed.path)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(rude, client.take_output())
            for _ in range(10_000):
                client.ping(bytes(8))
            pings = client.take_output()
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                await asyncio.wait_for(loop.sock_sendall(rude, pings * 100), 60)


async def test_response_waits_for_a_slow_reader_and_is_cancelled_by_its_deadline(tmp_path: Path) -> None:
    async with Bed(tmp_path) as bed:
        client = Http2Connection(client=True)
        request = pb.ExecSyncRequest(cmd=["x" * 50_000]).SerializeToString()
        headers = [(":method", "POST"), (":path", f"{SERVICE}ExecSync"), ("content-type", "application/grpc")]
        stream = client.open_stream([*headers, ("grpc-timeout", "50m")])
        client.send_data(stream, b"\0" + len(request).to_bytes(4, "big") + request, end_stream=True)
        _, writer = await asyncio.open_unix_connection(bed.path, limit=1024)
        writer.write(client.take_output())
        await asyncio.sleep(0.1)
        await asyncio.wait_for(bed.calls_end(), 60)
        writer.close()


async def test_dead_socket_is_replaced_and_a_live_one_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "run" / "crio.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    first, second = Server({}), Server({})
    await first.listen(str(path))
    status = os.stat(path)
    assert stat.S_IMODE(status.st_mode) == 0o660
    with pytest.raises(AlreadyExists, match="another process answers there"):
        await second.listen(str(path))
    await second.stop(0)
    assert os.stat(path).st_ino == status.st_ino
    await first.stop(0)
    assert not path.exists()


async def test_path_that_is_not_a_socket_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(FailedPrecondition, match="not a socket"):
        await Server({}).listen(str(path))
    assert path.read_text() == "precious"
