"""crioctl info"""

from __future__ import annotations

import argparse

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl import render
from crio.cli.crioctl.arguments import add_output
from crio.cli.crioctl.session import Session, with_session


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-q", "--quiet", action="store_true", help="without the verbose information")
    add_output(parser, "json")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    response = await session.runtime.call("Status", pb.StatusRequest(verbose=not args.quiet), pb.StatusResponse)
    if args.output == "table":
        for condition in response.status.conditions:
            why = f"{condition.reason}: {condition.message}" if condition.reason else condition.message
            print(f"{condition.type}: {'yes' if condition.status else 'NO'}{' - ' + why if why else ''}")
        for handler in response.runtime_handlers:
            print(f"Handler: {handler.name or '(default)'}")
        return 0
    document = render.status_document(
        render.to_plain(response.status),
        response.info,
        runtimeHandlers=[render.set_fields(handler) for handler in response.runtime_handlers],
        features=render.set_fields(response.features),
    )
    render.write(document, args.output, args.template, sort_keys=True)
    return 0
