"""crioctl imagefsinfo"""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cli.crioctl import render
from crio.cli.crioctl.arguments import add_output
from crio.cli.crioctl.session import Session, with_session
from crio.cli.crioctl.units import human_size


def configure(parser: argparse.ArgumentParser) -> None:
    add_output(parser, "json")


@with_session
async def run(session: Session, args: argparse.Namespace) -> int:
    response = await session.images.call("ImageFsInfo", pb.ImageFsInfoRequest(), pb.ImageFsInfoResponse)
    if args.output == "table":
        _show("Container", response.container_filesystems)
        _show("Image", response.image_filesystems)
    else:
        render.write({"status": render.to_plain(response)}, args.output, args.template, sort_keys=True)
    return 0


def _show(title: str, filesystems: Iterable[pb.FilesystemUsage]) -> None:
    print(f"{title} Filesystem ")
    for index, each in enumerate(filesystems):
        print(f"TimeStamp[{index}]: {each.timestamp}")
        print(f"Disk[{index}]: {human_size(each.used_bytes.value)}")
        print(f"Inodes[{index}]: {each.inodes_used.value}")
        print(f"Mountpoint[{index}]: {each.fs_id.mountpoint}")
