"""What the doctor asks the daemon over the CRI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from crio.api.runtime.v1 import api_pb2 as pb
from crio.rpc.client import Client

T = TypeVar("T")

_SECONDS = 10.0
_SERVICE = "/runtime.v1.RuntimeService"


class Status(NamedTuple):
    version: str
    failing: tuple[tuple[str, str], ...]
    """Conditions that are false, with their messages."""


class Known(NamedTuple):
    """Ids of what the daemon knows."""

    sandboxes: frozenset[str]
    containers: frozenset[str]


def ask_status(socket: str) -> Status:
    """Raises CrioError if the daemon does not answer within ten seconds."""

    async def ask(client: Client) -> Status:
        version = await client.unary(f"{_SERVICE}/Version", pb.VersionRequest(), pb.VersionResponse, _SECONDS)
        status = await client.unary(f"{_SERVICE}/Status", pb.StatusRequest(), pb.StatusResponse, _SECONDS)
        failing = ((each.type, each.message) for each in status.status.conditions if not each.status)
        return Status(version.runtime_version, tuple(failing))

    return asyncio.run(_with_client(socket, ask))


def ask_known(socket: str) -> Known:
    """Raises CrioError if the daemon does not answer within ten seconds."""

    async def ask(client: Client) -> Known:
        pods = await client.unary(
            f"{_SERVICE}/ListPodSandbox", pb.ListPodSandboxRequest(), pb.ListPodSandboxResponse, _SECONDS
        )
        containers = await client.unary(
            f"{_SERVICE}/ListContainers", pb.ListContainersRequest(), pb.ListContainersResponse, _SECONDS
        )
        return Known(frozenset(pod.id for pod in pods.items), frozenset(each.id for each in containers.containers))

    return asyncio.run(_with_client(socket, ask))


async def _with_client(socket: str, ask: Callable[[Client], Awaitable[T]]) -> T:
    client = Client(f"unix://{socket}", connect_timeout=_SECONDS)
    try:
        return await ask(client)
    finally:
        await client.close()
