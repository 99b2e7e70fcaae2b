"""ImageFsInfo."""

from __future__ import annotations

import time

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri.node import Node
from crio.image.service import FsUsage
from crio.rpc.service import Context


async def image_fs_info(node: Node, request: pb.ImageFsInfoRequest, context: Context) -> pb.ImageFsInfoResponse:
    images, containers = await node.images.fs_info(), await node.images.container_fs_info()
    return pb.ImageFsInfoResponse(image_filesystems=[_usage(images)], container_filesystems=[_usage(containers)])


def _usage(usage: FsUsage) -> pb.FilesystemUsage:
    return pb.FilesystemUsage(
        timestamp=time.time_ns(),
        fs_id=pb.FilesystemIdentifier(mountpoint=usage.mountpoint),
        used_bytes=pb.UInt64Value(value=usage.used_bytes),
        inodes_used=pb.UInt64Value(value=usage.inodes_used),
    )
