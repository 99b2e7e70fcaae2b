"""crioctl logs"""

from __future__ import annotations

import argparse
import re
import sys
import time
from datetime import UTC

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import CrioError, FailedPrecondition, InvalidArgument, NotFound
from crio.cli.crioctl import logfile, names
from crio.cli.crioctl.session import Session, with_session
from crio.cli.crioctl.units import parse_duration


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the container ends")
    parser.add_argument("-p", "--previous", action="store_true", help="the log of the attempt before this one")
    parser.add_argument("-r", "--reopen", action="store_true", help="let the runtime reopen the log file first")
    parser.add_argument("--tail", metavar="N", type=int, default=-1, help="only the last N lines")
    parser.add_argument("--limit-bytes", metavar="N", type=int, default=-1, help="at most N bytes")
    parser.add_argument(
        "--since",
        metavar="TIME",
        default="",
        help="only from this time on: 2013-01-02T13:23:37, or 42m for 42 minutes ago",
    )
    parser.add_argument("-t", "--timestamps", action="store_true", help="with the time of each line")
    parser.add_argument("-s", "--stream", choices=["stdout", "stderr"], default="", help="only this stream")
    parser.add_argument("container", metavar="CONTAINER", help="id or name")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    container = await names.container_id(session, args.container)
    if args.reopen:
        await session.runtime.call(
            "ReopenContainerLog", pb.ReopenContainerLogRequest(container_id=container), pb.ReopenContainerLogResponse
        )
    request = pb.ContainerStatusRequest(container_id=container)
    status = (await session.runtime.call("ContainerStatus", request, pb.ContainerStatusResponse)).status
    path = status.log_path
    if not path:
        raise FailedPrecondition(f"cannot show the log of {args.container}: the container has none")
    if args.previous:
        path = previous_path(path, status.metadata)
    selection = logfile.Selection(since_time(args.since), args.stream, args.limit_bytes, args.timestamps)
    printer = logfile.Printer(selection, sys.stdout.buffer, sys.stderr.buffer)

    async def is_running() -> bool:
        try:
            now = await session.runtime.call("ContainerStatus", request, pb.ContainerStatusResponse)
        except CrioError:
            return False
        return now.status.state in (pb.CONTAINER_RUNNING, pb.CONTAINER_CREATED)

    reader = logfile.read(path, printer, tail=args.tail)
    if args.follow and not args.previous and not printer.done:
        session.endless = True
        await logfile.follow(reader, path, printer, is_running, logfile.every)
    else:
        reader.close()
    return 0


def previous_path(path: str, metadata: pb.ContainerMetadata) -> str:
    """The log of the attempt before. Kubelet's names are NAME/ATTEMPT.log. Raises NotFound for the first attempt."""
    if metadata.attempt == 0:
        raise NotFound(f"cannot show the previous log of {metadata.name}: this is its first attempt")
    directory, _, name = path.rpartition("/")
    extension = name[name.rindex(".") :] if "." in name else ""
    return f"{directory}/{metadata.attempt - 1}{extension}"


def since_time(text: str) -> str:
    """A comparable UTC time from a duration, a date, a local or zoned time, or Unix seconds. Raises InvalidArgument."""
    from datetime import datetime

    if not text:
        return ""
    try:
        if re.fullmatch(r"\d+(\.\d+)?", text):
            moment = datetime.fromtimestamp(float(text), UTC)
        elif re.fullmatch(r"(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+", text):
            moment = datetime.fromtimestamp(time.time() - parse_duration(text), UTC)
        else:
            moment = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidArgument(
            f"cannot use --since {text!r}: neither a time (2013-01-02T13:23:37) nor a duration (42m)"
        ) from None
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
