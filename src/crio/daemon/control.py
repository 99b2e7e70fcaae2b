"""The node's own debug interface (proto/crio/v1), beside the CRI on the same socket: what crioctl needs beyond it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from crio.api.crio.v1 import control_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.cri.node import Node
from crio.image.credentials import Credentials
from crio.image.progress import LayerProgress
from crio.image.pulls import OnProgress, PullProgress
from crio.image.records import ImageInfo
from crio.rpc.service import Context, Method, service_table

_Work = Callable[[OnProgress], Awaitable[Sequence[ImageInfo]]]


def control_methods(node: Node) -> dict[str, Method]:
    """The calls by path, bound to this node."""
    calls: dict[str, Callable[..., Any]] = {
        "Pull": _pull,
        "ListPulls": _list_pulls,
        "Load": _load,
        "ListJobs": _list_jobs,
    }
    service = pb.DESCRIPTOR.services_by_name["Control"]
    return service_table(service, {name: partial(call, node) for name, call in calls.items()})


async def _pull(node: Node, request: pb.PullRequest, context: Context) -> AsyncIterator[pb.PullProgress]:
    if not request.image:
        raise InvalidArgument("cannot pull an image: its name is empty")
    credentials = Credentials(
        request.username, request.password, request.identity_token, request.registry_token, request.auth
    )

    async def work(on_progress: OnProgress) -> Sequence[ImageInfo]:
        given = credentials if credentials != Credentials() else None
        return [await node.images.pull(request.image, given, namespace=request.namespace, on_progress=on_progress)]

    async for message in _progress(work):
        yield message


async def _load(node: Node, request: pb.LoadRequest, context: Context) -> AsyncIterator[pb.PullProgress]:
    if not request.path.startswith("/"):
        raise InvalidArgument(f"cannot load images from {request.path!r}: the path must be absolute")

    async def work(on_progress: OnProgress) -> Sequence[ImageInfo]:
        return await node.images.load(request.path, request.names, format=request.format, on_progress=on_progress)

    async for message in _progress(work):
        yield message


async def _progress(work: _Work) -> AsyncIterator[pb.PullProgress]:
    """Progress as it comes, merged where the client is slower than it; at the end one message for each image."""
    layers: dict[str, LayerProgress] = {}
    stage = ""
    news = asyncio.Event()

    def on_progress(update: PullProgress) -> None:
        nonlocal stage
        layers.update({layer.digest: layer for layer in update.layers})
        stage = update.stage or stage
        news.set()

    task = asyncio.ensure_future(work(on_progress))
    task.add_done_callback(lambda _: news.set())
    try:
        ended = False
        while not ended:
            await news.wait()
            news.clear()
            ended = task.done()
            if layers or stage:
                message = pb.PullProgress(layers=map(_layer, layers.values()), stage=stage)
                # Before the yield: what comes while the client takes this message is for the next one.
                layers.clear()
                stage = ""
                yield message
        for image in task.result():
            yield pb.PullProgress(image_id=image.id, names=image.repo_tags)
    finally:
        task.cancel()


async def _list_pulls(node: Node, request: pb.ListPullsRequest, context: Context) -> pb.ListPullsResponse:
    now = time.monotonic()
    return pb.ListPullsResponse(
        pulls=[
            pb.PullStatus(
                image=pull.image,
                stage=pull.stage,
                started_at=pull.started_at,
                bytes_done=pull.bytes_done,
                bytes_total=pull.bytes_total,
                waiters=pull.waiters,
                layers=map(_layer, pull.layers.values()),
                namespace=pull.namespace,
                bytes_per_second=round(pull.rate(now)),
            )
            for pull in node.images.pulls()
        ]
    )


async def _list_jobs(node: Node, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
    return pb.ListJobsResponse(
        jobs=[
            pb.Job(
                kind=job.kind,
                subject=job.subject,
                stage=job.stage,
                started_at=job.started_at,
                stage_started_at=job.stage_started_at,
                waiters=job.waiters,
            )
            for job in node.jobs.running()
        ]
    )


def _layer(layer: LayerProgress) -> pb.LayerProgress:
    return pb.LayerProgress(digest=layer.digest, size=layer.size, done=layer.done, state=layer.state)
