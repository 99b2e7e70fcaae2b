"""crioctl attach"""

from __future__ import annotations

import argparse

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.cli.crioctl import names
from crio.cli.crioctl.arguments import add_tls
from crio.cli.crioctl.session import Session, with_session


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-i", "--stdin", action="store_true", help="pass on stdin")
    parser.add_argument("-t", "--tty", action="store_true", help="the container has a terminal; Ctrl-P Ctrl-Q detaches")
    add_tls(parser)
    parser.add_argument("container", metavar="CONTAINER", help="id or name")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    from crio.cli.crioctl.streams import remote, terminal  # lazy: --help needs none of it
    from crio.cli.crioctl.streams.pipe import Tls

    if args.tty and args.stdin and not terminal.is_terminal():
        raise InvalidArgument("cannot use --tty: stdin is no terminal")
    container = await names.container_id(session, args.container)
    request = pb.AttachRequest(container_id=container, stdin=args.stdin, tty=args.tty, stdout=True, stderr=not args.tty)
    response = await session.runtime.call("Attach", request, pb.AttachResponse)
    tls = Tls(args.tls_sni, args.tls_ca, args.tls_cert, args.tls_key)
    return await remote.run(response.url, remote.Wanted(args.stdin, args.tty, args.transport, tls))
