"""HTTP/1 requests on the daemon's unix socket, for `crio status` and tests."""

from __future__ import annotations

import asyncio

from crio.base.errors import DeadlineExceeded, Unavailable
from crio.wire.http1 import HttpError, Limits, Response, ResponseReader, encode_request

MAX_BODY = 64 << 20


async def http_get(path: str, target: str, *, timeout: float = 10.0) -> Response:
    """GET `target` (as `/info`) from the server on the unix socket `path`, whatever its status.

    Raises Unavailable if there is no server or it does not speak HTTP, DeadlineExceeded after `timeout` seconds.
    """
    reader = ResponseReader(Limits(body=MAX_BODY))
    try:
        async with asyncio.timeout(timeout):
            source, sink = await asyncio.open_unix_connection(path)
            try:
                sink.write(encode_request("GET", target, [("Host", "crio"), ("Connection", "close")]))
                while True:
                    data = await source.read(1 << 16)
                    reader.feed(data)
                    if (response := reader.next_response(at_eof=not data)) is not None:
                        return response
            finally:
                sink.close()
    except TimeoutError:
        raise DeadlineExceeded(f"cannot get {target} from {path}: no answer within {timeout:g} s") from None
    except (OSError, HttpError) as error:
        raise Unavailable(f"cannot get {target} from {path}: {error}; is the daemon running?") from error
