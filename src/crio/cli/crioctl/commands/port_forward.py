"""crioctl port-forward"""

from __future__ import annotations

import argparse

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl import names
from crio.cli.crioctl.arguments import add_tls
from crio.cli.crioctl.session import Session, with_session


def configure(parser: argparse.ArgumentParser) -> None:
    add_tls(parser)
    parser.add_argument("pod", metavar="POD", help="id or name")
    parser.add_argument("ports", metavar="[LOCAL_PORT:]REMOTE_PORT", nargs="+", help="several may be given")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    from crio.cli.crioctl.streams import forward  # lazy: --help needs none of it
    from crio.cli.crioctl.streams.pipe import Tls

    ports = [forward.parse_ports(text) for text in args.ports]
    request = pb.PortForwardRequest(
        pod_sandbox_id=await names.pod_id(session, args.pod), port=[each.remote for each in ports]
    )
    response = await session.runtime.call("PortForward", request, pb.PortForwardResponse)
    tls = Tls(args.tls_sni, args.tls_ca, args.tls_cert, args.tls_key)
    session.endless = True
    link = await forward.connect(response.url, args.transport, tls)
    try:
        await forward.Forwarder(link).run(ports)
    finally:
        await link.close()
    return 0
