"""ImageFsInfo."""

from __future__ import annotations

import time

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri.node import Node
from crio.rpc.service import Context


async def image_fs_info(node: Node, request: pb.ImageFsInfoRequest, context: Context) -> pb.ImageFsInfoResponse:
    usage = await node.images.fs_info()
    message = pb.FilesystemUsage(
        timestamp=time.time_ns(),
        fs_id=pb.FilesystemIdentifier(mountpoint=usage.mountpoint),
        used_bytes=pb.UInt64Value(value=usage.used_bytes),
        inodes_used=pb.UInt64Value(value=usage.inodes_used),
    )
    return pb.ImageFsInfoResponse(image_filesystems=[message], container_filesystems=[message])
