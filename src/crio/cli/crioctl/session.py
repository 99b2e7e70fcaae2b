"""The connection of one command to the daemon."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from crio.base.errors import Unavailable
from crio.cli.crioctl.settings import Settings
from crio.rpc.client import Client

if TYPE_CHECKING:
    from google.protobuf.message import Message

Response = TypeVar("Response", bound="Message")

_FIRST_RETRY, _LAST_RETRY = 0.5, 5.0


class Service:
    """The methods of one proto service."""

    def __init__(self, session: Session, name: str, endpoint: str) -> None:
        self._session, self._name, self._endpoint = session, name, endpoint

    async def call(
        self, method: str, request: Message, response_type: type[Response], *, timeout: float | None = None
    ) -> Response:
        """One call. `timeout` in seconds goes before the user's --timeout; by default there may be none.

        Raises RpcError with the daemon's status, or Unavailable.
        """
        client = await self._session.client(self._endpoint)
        limit = timeout if timeout is not None else self._session.settings.call_seconds
        self._session.debug(f"> {self._name}/{method}", request)
        response = await client.unary(f"/{self._name}/{method}", request, response_type, limit)
        self._session.debug(f"< {self._name}/{method}", response)
        return response

    async def stream(
        self, method: str, request: Message, response_type: type[Response]
    ) -> AsyncGenerator[Response, None]:
        """The responses of a streaming method, as long as they come."""
        client = await self._session.client(self._endpoint)
        self._session.debug(f"> {self._name}/{method}", request)
        async for response in client.stream(f"/{self._name}/{method}", request, response_type, None):
            self._session.debug(f"< {self._name}/{method}", response)
            yield response


class Session:
    """The services of the daemon for one command; connections are made when first used. Close it at the end."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.endless = False
        """Set by commands that go on until they are interrupted: then that is no failure."""
        self._clients: dict[str, Client] = {}
        self.runtime = Service(self, "runtime.v1.RuntimeService", settings.runtime_endpoint)
        self.images = Service(self, "runtime.v1.ImageService", settings.image_endpoint)
        self.control = Service(self, "crio.v1.Control", settings.runtime_endpoint)

    async def client(self, endpoint: str) -> Client:
        """The client for an endpoint; what listens there has been reached once, with the retries asked for."""
        client = self._clients.get(endpoint)
        if client is None:
            await self._reach(endpoint)
            client = self._clients[endpoint] = Client(endpoint, connect_timeout=self.settings.connect_seconds)
        return client

    async def _reach(self, endpoint: str) -> None:
        attempt, delay = 0, _FIRST_RETRY
        path = endpoint.removeprefix("unix://")
        while self.settings.retries:
            try:
                async with asyncio.timeout(self.settings.connect_seconds):
                    _, writer = await asyncio.open_unix_connection(path)
                writer.close()
                return
            except (OSError, TimeoutError) as error:
                if attempt == self.settings.retries:
                    raise Unavailable(
                        f"cannot connect to {path} after {attempt} retries: {error or 'it does not accept'}"
                    ) from None
                attempt += 1
                await asyncio.sleep(delay)
                delay = min(2 * delay, _LAST_RETRY)

    def debug(self, direction: str, message: Message) -> None:
        """Show a message with --debug."""
        if self.settings.debug:
            from crio.cli.crioctl.render import format_text, set_fields  # lazy: only for --debug

            kind = message.DESCRIPTOR.name
            print(f"{direction} {kind} {format_text_line(format_text, set_fields(message))}", file=sys.stderr)

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()


def format_text_line(render: Callable[[object, str], str], data: object) -> str:
    return " ".join(render(data, "json").split())


def with_session(
    work: Callable[[Session, argparse.Namespace], Awaitable[int]],
) -> Callable[[Settings, argparse.Namespace], int]:
    """Makes a command's `run(settings, args)` of an `async` function that is given a session."""

    def run(settings: Settings, args: argparse.Namespace) -> int:
        session = Session(settings)

        async def main() -> int:
            try:
                return await work(session, args)
            finally:
                await session.close()

        try:
            return asyncio.run(main())
        except KeyboardInterrupt:
            if session.endless:
                return 0
            raise

    return run
