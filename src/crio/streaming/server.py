"""The HTTP server that clients come to with their tokens."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections.abc import Sequence

import msgspec

from crio.base import tls
from crio.base.errors import CrioError, InvalidArgument, Unavailable
from crio.rpc.listener import Listener
from crio.streaming.backend import Attacher, Executor, PortForwarder, Services
from crio.streaming.outlet import ClientGone
from crio.streaming.refusals import Refusals
from crio.streaming.requests import CommandRequest, PortForwardRequest, Tokens
from crio.streaming.requests import Request as StreamRequest
from crio.streaming.stream import ByteStream, PlainStream, TlsStream
from crio.wire.http1 import HttpError, Limits, Request, RequestReader, Response, encode_response

log = logging.getLogger(__name__)

MAX_SESSIONS = 2048
MAX_OPENING = 256
"""Connections that have not brought a valid token yet; the oldest is closed for one more."""
OPENING_TIMEOUT = 10.0
"""Seconds for the TLS handshake and the request's head."""
_LINGER = 5.0
"""Seconds that a client may take to close after we have said everything."""
_MAX_LATE = 8 << 20
"""Bytes that are read and dropped meanwhile: more than can have been on the way."""
_LIMITS = Limits(head=16384, body=1024)
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 9))


class TlsFiles(msgspec.Struct, frozen=True):
    """The [crio.api] keys for TLS. Changed files are taken over for connections from then on."""

    cert: str
    key: str
    client_ca: str = ""
    min_version: str = "VersionTLS12"
    cipher_suites: Sequence[str] = ()


class StreamingServer:
    """Serves exec, attach and port-forward on `address`:`port` (0: a free one), times in seconds."""

    def __init__(
        self,
        *,
        executor: Executor,
        attacher: Attacher,
        port_forwarder: PortForwarder,
        address: str = "127.0.0.1",
        port: int = 0,
        tls_files: TlsFiles | None = None,
        idle_timeout: float = 4 * 3600.0,
        creation_timeout: float = 30.0,
    ) -> None:
        self._services = Services(executor, attacher, port_forwarder, idle_timeout, creation_timeout)
        self._address = address or "127.0.0.1"
        self._port = port
        self._tls_files = tls_files
        self._tls: ssl.SSLContext | None = None
        self._tls_stamp: object = None
        self._tokens = Tokens(lambda: asyncio.get_running_loop().time())
        self._refusals = Refusals(lambda: asyncio.get_running_loop().time())
        self._listener: Listener | None = None
        self._opening: dict[asyncio.Task[None], None] = {}
        self._sessions: set[asyncio.Task[None]] = set()

    # -- what the CRI calls

    def exec_url(
        self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool, stdout: bool, stderr: bool
    ) -> str:
        """An address with a token for running `command`. Raises InvalidArgument, ResourceExhausted."""
        if not command or not command[0]:
            raise InvalidArgument("cannot exec: the command is empty")
        if any("\0" in argument for argument in command):
            raise InvalidArgument("cannot exec: an argument contains a NUL character")
        return self._url("exec", CommandRequest(container_id, tuple(command), tty, stdin, stdout, stderr))

    def attach_url(self, container_id: str, *, tty: bool, stdin: bool, stdout: bool, stderr: bool) -> str:
        return self._url("attach", CommandRequest(container_id, (), tty, stdin, stdout, stderr))

    def port_forward_url(self, sandbox_id: str, ports: Sequence[int]) -> str:
        for port in ports:
            if not 0 < port < 65536:
                raise InvalidArgument(f"cannot forward port {port}: it is not between 1 and 65535")
        return self._url("portforward", PortForwardRequest(sandbox_id, tuple(ports)))

    def _url(self, kind: str, request: StreamRequest) -> str:
        if self._listener is None:
            raise Unavailable("cannot stream: the streaming server does not run")
        return f"{self.base_url}/{kind}/{self._tokens.issue(request)}"

    @property
    def base_url(self) -> str:
        """Where clients on this node reach the server."""
        address = ipaddress.ip_address(self._address)
        if address.is_unspecified:
            address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
        host = str(address) if address.version == 4 else f"[{address}]"
        return f"{'https' if self._tls_files else 'http'}://{host}:{self._port}"

    def statistics(self) -> dict[str, int]:
        """Sessions, connections that are not one yet, and addresses that were given out and not used."""
        return {"sessions": len(self._sessions), "opening": len(self._opening), "tokens": len(self._tokens)}

    # -- life

    async def start(self) -> None:
        """Listen. Raises InvalidArgument for an unusable address or certificate, Unavailable if the port is taken."""
        family = _family_of(self._address)
        if self._tls_files is not None:
            self._load_tls(self._tls_files)
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self._address, self._port))
            listener.listen(512)
        except OSError as error:
            listener.close()
            raise Unavailable(f"cannot stream on {self._address}:{self._port}: {error.strerror}") from error
        self._port = listener.getsockname()[1]
        self._listener = Listener("streaming server", listener, self._accept)

    def reconfigure(self, tls_files: TlsFiles | None, idle_timeout: float) -> None:
        """Other files and another limit for connections from then on. Whether there is TLS stays as it was."""
        self._services = msgspec.structs.replace(self._services, idle_timeout=idle_timeout)
        if tls_files is not None and self._tls_files is not None:
            self._tls_files = tls_files

    async def stop(self) -> None:
        """Stop listening and end all sessions."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        tasks = [*self._opening, *self._sessions]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _load_tls(self, files: TlsFiles) -> None:
        self._tls_stamp = tls.stamp(files.cert, files.key, files.client_ca)
        self._tls = tls.server_context(
            files.cert,
            files.key,
            client_ca=files.client_ca,
            min_version=files.min_version,
            cipher_suites=files.cipher_suites,
        )

    def _current_tls(self) -> ssl.SSLContext | None:
        files = self._tls_files
        if files is not None and tls.stamp(files.cert, files.key, files.client_ca) != self._tls_stamp:
            try:
                self._load_tls(files)
                log.info("streaming server: certificate files taken over")
            except CrioError as error:  # half-written files: the old ones serve until these are whole
                log.warning("streaming server: %s", error)
        return self._tls

    # -- connections

    def _accept(self, connection: socket.socket) -> None:
        if len(self._opening) >= MAX_OPENING:
            oldest = next(iter(self._opening))
            del self._opening[oldest]
            oldest.cancel()
            self._refusals.tell("it brought no token while others came")
        task = asyncio.get_running_loop().create_task(self._serve(connection), name="stream")
        self._opening[task] = None
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._opening.pop(task, None)
        self._sessions.discard(task)

    async def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        stream: ByteStream = PlainStream(connection)
        try:
            try:
                async with asyncio.timeout(OPENING_TIMEOUT):
                    stream = await self._secure(connection)
                    http, rest = await _read_request(stream)
                request = self._admit(http)
                from crio.streaming.upgrade import upgrade  # lazy: both protocols, for who comes to stream

                task = asyncio.current_task()
                if task is not None:
                    self._opening.pop(task, None)
                    self._sessions.add(task)
                await upgrade(http, request, stream, rest, self._services)
            except HttpError as error:
                self._refusals.tell(error)
                response = Response(error.status, f"{error}\n".encode(), "text/plain; charset=utf-8")
                await stream.write(encode_response(response, keep_alive=False))
            except ClientGone as error:
                log.debug("stream ended: %s", error)
            await _let_go(stream)
        except OSError as error:  # also of a time-out
            log.debug("stream ended: %s", error)
        except Exception:  # the task's boundary
            log.exception("stream failed")
        finally:
            stream.close()

    async def _secure(self, connection: socket.socket) -> ByteStream:
        plain = PlainStream(connection)
        context = self._current_tls()
        if context is None:
            return plain
        secured = TlsStream(plain, context)
        await secured.handshake()
        return secured

    def _admit(self, http: Request) -> StreamRequest:
        """The request behind the token. The refusals are HttpError, and say nothing to who guesses."""
        if http.method not in ("GET", "POST"):
            raise HttpError(405, "its method is neither GET nor POST")
        kind, _, token = http.path.removeprefix("/").partition("/")
        request = self._tokens.redeem(token)
        expected = {"exec": "exec", "attach": "attach", "portforward": "portforward"}.get(kind)
        if request is None or expected != _kind_of(request):
            raise HttpError(404, "its token is unknown, used or expired")
        if len(self._sessions) >= MAX_SESSIONS:
            raise HttpError(503, f"{MAX_SESSIONS} streams are open already")
        return request


def _kind_of(request: StreamRequest) -> str:
    if isinstance(request, PortForwardRequest):
        return "portforward"
    return "exec" if request.command else "attach"


def _family_of(address: str) -> socket.AddressFamily:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, address.partition("%")[0])
        except OSError:
            continue
        return family
    raise InvalidArgument(f'cannot stream on stream_address "{address}": it is no IP address')


async def _let_go(stream: ByteStream) -> None:
    """Wait a moment until the client closes too: our close with input unread could destroy what it has not got yet."""
    await stream.write_end()
    buffer = memoryview(bytearray(65536))
    left = _MAX_LATE
    async with asyncio.timeout(_LINGER):
        while left > 0 and (size := await stream.read_into(buffer)):
            left -= size


async def _read_request(stream: ByteStream) -> tuple[Request, bytes]:
    """The request, and what was read beyond it. Raises HttpError, ClientGone."""
    reader = RequestReader(_LIMITS)
    buffer = memoryview(bytearray(4096))
    while (request := reader.next_request()) is None:
        size = await stream.read_into(buffer)
        if not size:
            raise ClientGone("it left before its request was complete")
        reader.feed(bytes(buffer[:size]))
    return request, reader.take_rest()
