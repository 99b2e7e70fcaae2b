"""Commands, attachments and forwarded ports of a storm: streams that clients leave, and daemons die under."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import CrioError
from crio.cli.crioctl.streams.forward import connect
from crio.cli.crioctl.streams.pipe import Tls
from crio.cli.crioctl.streams.remote import Wanted, open_channels
from crio.wire import remotecommand
from crio.wire.remotecommand import ERROR, STDERR, STDIN, STDOUT, decode_outcome
from storm.model import Container, Phase, Pod, Wrong

if TYPE_CHECKING:
    from storm.client import StormClient

_NOBODY_LISTENS = 1
"""A port."""
_TRANSPORTS = ("spdy", "websocket")


async def run_command(client: StormClient, container: Container) -> None:
    """A command with streams, with a terminal or with input, which must say what it should."""
    tty, transport = client.random.random() < 0.4, client.random.choice(_TRANSPORTS)
    legal = container.certainly(Phase.RUNNING)
    script = f"echo {container.name}; exit 3" if tty else "cat; exit 3"
    request = pb.ExecRequest(
        container_id=container.id, cmd=["sh", "-c", script], tty=tty, stdin=not tty, stdout=True, stderr=not tty
    )
    url = (await client.call("Exec", request, pb.ExecResponse, legal=legal)).url
    received = {STDOUT: b"", STDERR: b"", ERROR: b""}
    async with _streams(client, f"command in {container.id[:12]}", legal=legal):
        channels = await open_channels(url, Wanted(not tty, tty, transport))
        try:
            if not tty:
                await channels.send(STDIN, f"{container.name}\n".encode())
                await channels.end(STDIN)
            async for channel, data in channels.received():
                received[channel] += data
        finally:
            await channels.close()
        outcome = decode_outcome(received[ERROR])
        if outcome.exit_code != 3 or received[STDOUT].split() != [container.name.encode()]:
            raise CrioError(f"it ends with {outcome}: {received}")


async def attach(client: StormClient, container: Container) -> None:
    """Look at a container's output for a moment."""
    legal = container.certainly(Phase.RUNNING)
    request = pb.AttachRequest(container_id=container.id, stdout=True, stderr=True)
    url = (await client.call("Attach", request, pb.AttachResponse, legal=legal)).url
    async with _streams(client, f"attachment to {container.id[:12]}", legal=legal):
        channels = await open_channels(url, Wanted(False, False, client.random.choice(_TRANSPORTS)))
        try:
            async with asyncio.timeout(client.random.uniform(0, 0.2)):
                async for _ in channels.received():
                    pass
        except TimeoutError:
            pass
        finally:
            await channels.close()


async def forward(client: StormClient, pod: Pod) -> None:
    """Go to a port of a pod on which nobody listens, and be told."""
    legal = pod.certainly(Phase.RUNNING)
    request = pb.PortForwardRequest(pod_sandbox_id=pod.id, port=[_NOBODY_LISTENS])
    url = (await client.call("PortForward", request, pb.PortForwardResponse, legal=legal)).url
    headers = {remotecommand.PORT: str(_NOBODY_LISTENS), remotecommand.REQUEST_ID: "0"}
    async with _streams(client, f"port of {pod.id[:12]}", legal=legal):
        link = await connect(url, client.random.choice(_TRANSPORTS), Tls())
        reading = asyncio.ensure_future(link.run())
        try:
            errors = await link.open({remotecommand.STREAM_TYPE: "error", **headers}, fin=True)
            await link.open({remotecommand.STREAM_TYPE: "data", **headers})
            told = await errors.read()
            if b"refused" not in told:
                raise CrioError(f"it is told as {told!r}")
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await link.close()


@contextlib.asynccontextmanager
async def _streams(client: StormClient, what: str, *, legal: bool) -> AsyncIterator[None]:
    """The client may leave at any moment. What goes wrong with a daemon that lives, where it must not, is Wrong."""
    leaves = client.random.uniform(0.0, 0.4) if client.random.random() < 0.2 else None
    daemon = client.daemon()
    try:
        async with asyncio.timeout(leaves or client.PATIENCE):
            yield
    except (CrioError, OSError, TimeoutError) as error:
        if leaves is not None and isinstance(error, TimeoutError):
            raise client.cut(f"{what}: left") from None
        # A connection ends a moment before its process has.
        await asyncio.sleep(0.5)
        if client.daemon() != daemon or not daemon or client.faulty:
            raise client.cut(f"{what}: {error}") from None
        if legal:
            raise Wrong(f"{what} fails: {type(error).__name__}: {error}") from None
