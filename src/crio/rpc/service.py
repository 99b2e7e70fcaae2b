"""How handlers are bound to the methods of a proto service, and what a handler is told about its call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from google.protobuf.descriptor import ServiceDescriptor
    from google.protobuf.message import Message


class Peer(msgspec.Struct, frozen=True):
    """The process at the other end of the unix socket (SO_PEERCRED), as it was when it connected."""

    pid: int
    uid: int
    gid: int


class Context(msgspec.Struct):
    """What a handler may want to know about its call."""

    method: str
    """`/package.Service/Method`"""
    request_id: str
    """The client's `x-request-id`, or one of our own: it stands in every log line of the call."""
    deadline: float | None = None
    """The moment in the event loop's time after which the client no longer waits, None if it waits for ever."""
    metadata: Mapping[str, str] | None = None
    """The request's headers; names are lower-case."""
    peer: Peer | None = None


Handler = Callable[[Any, Context], "Awaitable[Message | bytes] | AsyncIterator[Message | bytes]"]
"""`async def handler(request, context) -> response`, or an async generator of responses for a streaming method. A
response may also be given as its serialised bytes."""

Call = Callable[[Any, Context], "Awaitable[Message | bytes | None]"]


class Method(msgspec.Struct, frozen=True):
    """One method that is served."""

    path: str
    service: str
    name: str
    request_type: type[Message]
    streaming: bool
    handler: Handler


Interceptor = Callable[[Method, Any, Context, Call], "Awaitable[Message | bytes | None]"]
"""`async def interceptor(method, request, context, call_next)`: does something around the call, which is
`await call_next(request, context)`, and returns its result: the response of a unary method, and None of a streaming
one, whose responses have then all been sent. Errors pass through as the exceptions that they are, and
`status.status_of` tells their code."""


def service_table(service: ServiceDescriptor, implementations: Mapping[str, Handler]) -> dict[str, Method]:
    """The methods by path for `rpc.Server`: types from the descriptor, handlers from `implementations` by method name.

    Methods without an implementation are UNIMPLEMENTED for clients. Raises ValueError for an implementation of a method
    that the service does not have, or whose client sends a stream.
    """
    from google.protobuf.message_factory import GetMessageClass

    table: dict[str, Method] = {}
    for name, handler in implementations.items():
        descriptor = service.methods_by_name.get(name)
        if descriptor is None or descriptor.client_streaming:
            raise ValueError(f"cannot serve {service.full_name}/{name}: the service has no such method")
        path = f"/{service.full_name}/{name}"
        request_type = GetMessageClass(descriptor.input_type)
        table[path] = Method(path, service.full_name, name, request_type, descriptor.server_streaming, handler)
    return table
