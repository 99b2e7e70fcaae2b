"""crioctl exec"""

from __future__ import annotations

import argparse
import asyncio
import sys

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import CrioError, InvalidArgument, NotFound
from crio.cli.crioctl import listing, names
from crio.cli.crioctl.arguments import add_container_filters, add_tls
from crio.cli.crioctl.session import Session, with_session


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-s", "--sync", action="store_true", help="wait for the end and print the output then")
    parser.add_argument("--timeout", metavar="SECONDS", type=int, default=0, help="limit of a --sync command")
    parser.add_argument("-i", "--interactive", action="store_true", help="pass on stdin")
    parser.add_argument("-t", "--tty", action="store_true", help="with a terminal; Ctrl-P Ctrl-Q detaches")
    parser.add_argument("-e", "--ignore-errors", action="store_true", help="end with 0 whatever the command does")
    parser.add_argument("-q", "--quiet", action="store_true", help="do not print ids with several containers")
    parser.add_argument("-x", "--parallel", action="store_true", help="in several containers at once (with --sync)")
    add_container_filters(parser, short_state=False)
    add_tls(parser)
    parser.add_argument(
        "words",
        metavar="[CONTAINER] COMMAND [ARGUMENT ...]",
        nargs=argparse.REMAINDER,
        help="CONTAINER is left out if filters choose containers",
    )


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    words = args.words[1:] if args.words[:1] == ["--"] else list(args.words)
    filtered = any((args.name, args.pod, args.namespace, args.image, args.state, args.label, args.latest, args.last))
    if filtered:
        found = [container.id for container in await listing.containers(session, args)]
        if not found:
            raise NotFound("cannot run the command: no container passes the filters")
    else:
        found = [await names.container_id(session, words.pop(0))] if words else []
    if words[:1] == ["--"]:
        words = words[1:]
    if not words or not found:
        raise InvalidArgument("cannot run a command: name a container and a command, as in `crioctl exec web ls /`")
    if args.tty and not args.interactive:
        raise InvalidArgument("cannot use --tty without --interactive: say -it")
    if len(found) > 1 and args.interactive:
        raise InvalidArgument(f"cannot connect stdin with {len(found)} containers: choose one")

    async def one(container: str) -> int:
        if len(found) > 1 and not args.quiet and not args.parallel:
            print(f"{container}:", flush=True)
        try:
            if args.sync:
                return await _sync(session, args, container, words)
            return await _stream(session, args, container, words)
        except CrioError as error:
            if not args.ignore_errors and len(found) == 1:
                raise
            print(f"crioctl: {error.message}", file=sys.stderr)
            return 1

    if args.parallel and args.sync:
        codes = await asyncio.gather(*map(one, found))
    else:
        codes = [await one(container) for container in found]
    return 0 if args.ignore_errors else next((code for code in codes if code), 0)


async def _sync(session: Session, args: argparse.Namespace, container: str, command: list[str]) -> int:
    request = pb.ExecSyncRequest(container_id=container, cmd=command, timeout=args.timeout)
    limit = session.settings.call_seconds
    response = await session.runtime.call(
        "ExecSync", request, pb.ExecSyncResponse, timeout=None if limit is None else limit + args.timeout
    )
    for stream, data in ((sys.stdout, response.stdout), (sys.stderr, response.stderr)):
        stream.flush()
        stream.buffer.write(data)
        stream.buffer.flush()
    # -1 is what runtimes report for a command that was killed.
    return response.exit_code if 0 <= response.exit_code <= 255 else 1


async def _stream(session: Session, args: argparse.Namespace, container: str, command: list[str]) -> int:
    from crio.cli.crioctl.streams import remote, terminal  # lazy: --sync needs none of it
    from crio.cli.crioctl.streams.pipe import Tls

    if args.tty and not terminal.is_terminal():
        raise InvalidArgument("cannot use --tty: stdin is no terminal")
    request = pb.ExecRequest(
        container_id=container, cmd=command, tty=args.tty, stdin=args.interactive, stdout=True, stderr=not args.tty
    )
    response = await session.runtime.call("Exec", request, pb.ExecResponse)
    tls = Tls(args.tls_sni, args.tls_ca, args.tls_cert, args.tls_key)
    return await remote.run(response.url, remote.Wanted(args.interactive, args.tty, args.transport, tls))
