"""Pulling an image with bars, and without them where the runtime or the terminal cannot."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from crio.api.crio.v1 import control_pb2
from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import Code, CrioError, DeadlineExceeded, InvalidArgument
from crio.cli.crioctl.progress import Bars
from crio.cli.crioctl.session import Session
from crio.rpc.status import RpcError


def login(args: argparse.Namespace) -> pb.AuthConfig | None:
    """The credentials that the options give. Asks for a password on the terminal with --username."""
    if args.creds and args.auth:
        raise InvalidArgument("cannot use both --creds and --auth")
    if args.username:
        import getpass  # lazy: only to ask

        return pb.AuthConfig(username=args.username, password=getpass.getpass("Enter Password:"))
    if args.creds:
        user, _, password = args.creds.partition(":")
        if not user:
            raise InvalidArgument("cannot use --creds: the user name is empty")
        return pb.AuthConfig(username=user, password=password)
    return pb.AuthConfig(auth=args.auth) if args.auth else None


async def pull(
    session: Session,
    image: str,
    auth: pb.AuthConfig | None,
    *,
    sandbox: pb.PodSandboxConfig | None = None,
    annotations: Mapping[str, str] | None = None,
    timeout: float = 0.0,
    bars: bool = True,
) -> str:
    """Pull an image and return its id. Raises DeadlineExceeded after `timeout` seconds, RpcError."""
    import asyncio

    if timeout < 0:
        raise InvalidArgument("cannot use --pull-timeout: it is negative")
    try:
        async with asyncio.timeout(timeout or None):
            if not annotations:
                try:
                    return await _with_progress(session, image, auth, sandbox, bars)
                except RpcError as error:
                    if error.code is not Code.UNIMPLEMENTED:
                        raise
            return await _plain(session, image, auth, sandbox, annotations or {})
    except TimeoutError:
        raise DeadlineExceeded(f"cannot pull {image}: it took longer than {timeout:g} s") from None


async def _with_progress(
    session: Session, image: str, auth: pb.AuthConfig | None, sandbox: pb.PodSandboxConfig | None, bars: bool
) -> str:
    request = control_pb2.PullRequest(image=image)
    if auth is not None:
        request.username, request.password, request.auth = auth.username, auth.password, auth.auth
        request.identity_token, request.registry_token = auth.identity_token, auth.registry_token
    if sandbox is not None:
        request.namespace = sandbox.metadata.namespace
    image_id = ""
    with Bars(image, enabled=bars) as display:
        async for message in session.control.stream("Pull", request, control_pb2.PullProgress):
            display.update(message)
            image_id = message.image_id or image_id
    if not image_id:
        raise CrioError(f"cannot pull {image}: the runtime ended the pull without a result")
    return image_id


async def _plain(
    session: Session,
    image: str,
    auth: pb.AuthConfig | None,
    sandbox: pb.PodSandboxConfig | None,
    annotations: Mapping[str, str],
) -> str:
    request = pb.PullImageRequest(
        image=pb.ImageSpec(image=image, annotations=dict(annotations)), auth=auth, sandbox_config=sandbox
    )
    return (await session.images.call("PullImage", request, pb.PullImageResponse)).image_ref
