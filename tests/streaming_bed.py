"""A streaming server on real processes and sockets of this machine, and clients that speak its protocols."""

from __future__ import annotations

import asyncio
import base64
import collections
import os
import pty
import socket
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from crio.base.errors import Unavailable
from crio.base.process import kill_and_reap, wait_pid_exit
from crio.linux.pty import set_window_size
from crio.streaming.server import StreamingServer
from crio.wire import remotecommand, spdy, websocket
from crio.wire.http1 import Response, ResponseReader, encode_request
from crio.wire.remotecommand import Size


class LocalProcess:
    def __init__(self, child: subprocess.Popen[bytes], stdin: int, stdout: int, stderr: int) -> None:
        self.child = child
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.sizes: list[Size] = []
        self.closed = asyncio.Event()

    async def resize(self, size: Size) -> None:
        self.sizes.append(size)
        set_window_size(self.stdout, size.height, size.width)

    async def wait(self) -> int:
        code = await wait_pid_exit(self.child)
        return code if code >= 0 else 128 - code

    async def close(self) -> None:
        self.closed.set()


class LocalExecutor:
    """Runs commands on this machine."""

    def __init__(self) -> None:
        self.processes: list[LocalProcess] = []

    async def exec(
        self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool, stdout: bool, stderr: bool
    ) -> LocalProcess:
        if container_id == "missing":
            raise Unavailable("cannot find container missing: no such id")
        if container_id == "fault":
            raise ZeroDivisionError("oops")
        if tty:
            master, slave = pty.openpty()
            child = subprocess.Popen(["setsid", "--ctty", *command], stdin=slave, stdout=slave, stderr=slave)
            os.close(slave)
            process = LocalProcess(child, master if stdin else -1, master, -1)
        else:
            ours: list[int] = []
            theirs: list[int] = []
            for number, wanted in enumerate((stdin, stdout, stderr)):
                reading, writing = os.pipe() if wanted else (-1, subprocess.DEVNULL)
                ours.append(writing if number == 0 and wanted else reading)
                theirs.append(reading if number == 0 and wanted else writing)
            child = subprocess.Popen(command, stdin=theirs[0], stdout=theirs[1], stderr=theirs[2])
            for fd in theirs:
                if fd >= 0:
                    os.close(fd)
            process = LocalProcess(child, *ours)
        self.processes.append(process)
        return process

    async def stop(self) -> None:
        for process in self.processes:
            await kill_and_reap(process.child)


class LocalAttachment:
    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.sizes: list[Size] = []
        self.closed = asyncio.Event()

    async def resize(self, size: Size) -> None:
        self.sizes.append(size)

    async def close(self) -> None:
        self.closed.set()


class LocalAttacher:
    """Each attachment's other end is in `ends`."""

    def __init__(self) -> None:
        self.ends: list[socket.socket] = []
        self.attachments: list[LocalAttachment] = []

    async def attach(self, container_id: str, *, tty: bool, stdin: bool, stdout: bool, stderr: bool) -> LocalAttachment:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        near.setblocking(False)
        far.setblocking(False)
        self.ends.append(far)
        self.attachments.append(LocalAttachment(near))
        return self.attachments[-1]


class LocalForwarder:
    async def connect(self, sandbox_id: str, port: int) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except OSError as error:
            sock.close()
            raise Unavailable(f"cannot connect to port {port}: {error.strerror}") from None
        return sock


class Bed:
    def __init__(self, **options: Any) -> None:
        self.executor = LocalExecutor()
        self.attacher = LocalAttacher()
        self.server = StreamingServer(
            executor=self.executor, attacher=self.attacher, port_forwarder=LocalForwarder(), **options
        )
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Bed:
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for writer in self.writers:
            writer.close()
        await self.server.stop()
        await self.executor.stop()
        for end in self.attacher.ends:
            end.close()

    def exec_url(self, *command: str, tty: bool = False, stdin: bool = False, container: str = "c") -> str:
        return self.server.exec_url(container, command, tty=tty, stdin=stdin, stdout=True, stderr=not tty)

    def attach_url(self, *, tty: bool = False, stdin: bool = True) -> str:
        return self.server.attach_url("c", tty=tty, stdin=stdin, stdout=True, stderr=not tty)

    async def dial(
        self, url: str, tls: ssl.SSLContext | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=tls)
        self.writers.append(writer)
        return reader, writer

    async def request(
        self, url: str, headers: Sequence[tuple[str, str]], *, method: str = "GET", tls: ssl.SSLContext | None = None
    ) -> tuple[Response, asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        """The response to an upgrade, and what came behind it."""
        reader, writer = await self.dial(url, tls)
        writer.write(encode_request(method, urlsplit(url).path, headers))
        parser = ResponseReader()
        while True:
            data = await reader.read(65536)
            parser.feed(data)
            response = parser.next_response(at_eof=not data)
            if response is not None:
                return response, reader, writer, parser.take_rest()

    async def spdy(self, url: str, *protocols: str, tls: ssl.SSLContext | None = None) -> SpdyClient:
        headers = [("Host", "n"), ("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")]
        headers += [("X-Stream-Protocol-Version", name) for name in protocols]
        response, reader, writer, rest = await self.request(url, headers, method="POST", tls=tls)
        assert response.status == 101, response
        assert dict(response.headers)["X-Stream-Protocol-Version"] in protocols
        return SpdyClient(reader, writer, rest)

    async def websocket(self, url: str, *protocols: str, tls: ssl.SSLContext | None = None) -> WebSocketClient:
        headers = websocket.request_headers("n", websocket.new_key(), protocols)
        response, reader, writer, rest = await self.request(url, headers, tls=tls)
        assert response.status == 101, response
        chosen = dict(response.headers).get("Sec-WebSocket-Protocol", "")
        assert chosen in protocols or not protocols
        return WebSocketClient(reader, writer, rest, base64_text="base64" in chosen)


class SpdyClient:
    """Streams by their kind; `keeps_windows` gives windows back as the draft wants."""

    def __init__(self, reader: Any, writer: Any, rest: bytes = b"", *, keeps_windows: bool = False) -> None:
        self.reader, self.writer = reader, writer
        self.connection = spdy.SpdyConnection(client=True)
        if not keeps_windows:
            self.connection.take_output()
        self.keeps_windows = keeps_windows
        self.received: dict[int, bytearray] = collections.defaultdict(bytearray)
        self.ended: set[int] = set()
        self.replied: set[int] = set()
        self.resets: dict[int, int] = {}
        self.events: list[spdy.Event] = []
        self.closed = False
        self._rest = rest

    def open(self, kind: str, **headers: str) -> int:
        stream = self.connection.open_stream({"streamtype": kind, **headers})
        self.flush()
        return stream

    def send(self, stream: int, data: bytes, *, fin: bool = False) -> None:
        self.flush()
        self.writer.write(self.connection.data_header(stream, len(data), fin=fin) + data)

    def reset(self, stream: int) -> None:
        self.connection.reset(stream, spdy.ResetCode.CANCEL)
        self.flush()

    def flush(self) -> None:
        self.writer.write(self.connection.take_output())

    async def step(self) -> None:
        """Take in what comes next."""
        data, self._rest = self._rest or await self.reader.read(65536), b""
        if not data:
            self.closed = True
            return
        for event in self.connection.feed(data):
            match event:
                case spdy.DataReceived(stream, piece, fin):
                    self.received[stream] += piece
                    if self.keeps_windows:
                        self.connection.consume(stream, len(piece))
                    if fin:
                        self.ended.add(stream)
                case spdy.StreamReplied(stream, _, _):
                    self.replied.add(stream)
                case spdy.StreamReset(stream, code):
                    self.resets[stream] = code
                case _:
                    self.events.append(event)
        self.flush()

    async def read_until_closed(self) -> None:
        while not self.closed:
            await self.step()

    async def read_until_ended(self, *streams: int) -> None:
        while not self.closed and not self.ended.issuperset(streams):
            await self.step()

    async def read_bytes(self, stream: int, size: int) -> bytes:
        while not self.closed and len(self.received[stream]) < size:
            await self.step()
        return bytes(self.received[stream])


class Command:
    """Exec or attach over SPDY or WebSocket, in the same words."""

    def __init__(self, client: SpdyClient | WebSocketClient, streams: Mapping[str, int]) -> None:
        self.client, self.streams = client, streams

    @classmethod
    async def over_spdy(
        cls, bed: Bed, url: str, protocol: str, *kinds: str, client: SpdyClient | None = None, tls: Any = None
    ) -> Command:
        client = client or await bed.spdy(url, protocol, tls=tls)
        return cls(client, {kind: client.open(kind) for kind in ("error", *kinds)})

    @classmethod
    async def over_websocket(cls, bed: Bed, url: str, *protocols: str, tls: Any = None) -> Command:
        client = await bed.websocket(url, *protocols, tls=tls)
        return cls(client, {"stdin": 0, "stdout": 1, "stderr": 2, "error": 3, "resize": 4})

    def send(self, kind: str, data: bytes) -> None:
        self.client.send(self.streams[kind], data)

    def end_input(self) -> None:
        if isinstance(self.client, SpdyClient):
            self.client.send(self.streams["stdin"], b"", fin=True)
        else:
            self.client.send(remotecommand.CLOSE_CHANNEL, bytes((self.streams["stdin"],)))

    def text(self, kind: str) -> bytes:
        return bytes(self.client.received[self.streams[kind]])

    async def read_text(self, kind: str, wanted: bytes) -> None:
        while wanted not in self.text(kind):
            assert not self.client.closed, self.text(kind)
            await self.client.step()

    async def finish(self) -> remotecommand.Outcome:
        await self.client.read_until_closed()
        return remotecommand.decode_outcome(self.text("error"))


class WebSocketClient:
    def __init__(self, reader: Any, writer: Any, rest: bytes = b"", *, base64_text: bool = False) -> None:
        self.reader, self.writer = reader, writer
        self.connection = websocket.WebSocketConnection(client=True)
        self.base64_text = base64_text
        self.received: dict[int, bytearray] = collections.defaultdict(bytearray)
        self.messages = 0
        self.close_code = 0
        self.closed = False
        self._message = bytearray()
        self._rest = rest

    def send(self, channel: int, data: bytes) -> None:
        if self.base64_text:
            message = self.connection.message(websocket.TEXT, chr(ord("0") + channel).encode() + base64.b64encode(data))
        else:
            message = self.connection.message(websocket.BINARY, bytes((channel,)) + data)
        self.writer.write(message)

    async def step(self) -> None:
        data, self._rest = self._rest or await self.reader.read(65536), b""
        if not data:
            self.closed = True
            return
        for event in self.connection.feed(data):
            match event:
                case websocket.MessagePart(piece, _, last, text):
                    self._message += piece
                    if last:
                        assert text is self.base64_text
                        self._take_message(bytes(self._message))
                        self._message.clear()
                case websocket.Closed(code, _):
                    self.close_code = code
                case _:
                    pass
        self.writer.write(self.connection.take_output())

    def _take_message(self, message: bytes) -> None:
        self.messages += 1
        if self.base64_text:
            self.received[message[0] - ord("0")] += base64.b64decode(message[1:])
        else:
            self.received[message[0]] += message[1:]

    async def read_until_closed(self) -> None:
        while not self.closed:
            await self.step()

    async def read_bytes(self, channel: int, size: int) -> bytes:
        while not self.closed and len(self.received[channel]) < size:
            await self.step()
        return bytes(self.received[channel])


class TunnelReader:
    """A byte stream in WebSocket messages, with the two methods that `SpdyClient` uses of a reader and a writer."""

    def __init__(self, client: WebSocketClient) -> None:
        self._client = client

    async def read(self, _: int) -> bytes:
        data, self._client._rest = self._client._rest or await self._client.reader.read(65536), b""
        parts = [event for event in self._client.connection.feed(data) if isinstance(event, websocket.MessagePart)]
        if data and not parts:
            return await self.read(0) if not self._client.connection.close_received else b""
        return b"".join(part.data for part in parts)

    def write(self, data: bytes) -> None:
        # In two messages, so that frames of the tunnelled connection are cut.
        for piece in (data[:5], data[5:]):
            if piece:
                self._client.writer.write(self._client.connection.message(websocket.BINARY, piece))
