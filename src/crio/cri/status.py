"""Status: whether the runtime and the network are ready, and what the handlers can do."""

from __future__ import annotations

import msgspec

from crio.api.runtime.v1 import api_pb2 as pb
from crio.cri.node import Node
from crio.rpc.service import Context


async def status(node: Node, request: pb.StatusRequest, context: Context) -> pb.StatusResponse:
    network = node.network.status()
    response = pb.StatusResponse(
        status=pb.RuntimeStatus(
            conditions=[
                pb.RuntimeCondition(type="RuntimeReady", status=True),
                pb.RuntimeCondition(
                    type="NetworkReady", status=network.ready, reason=network.reason, message=network.message
                ),
            ]
        ),
    )
    default = node.runtimes.default
    userns = node.host.user_namespaces
    response.features.supplemental_groups_policy = True
    response.features.user_namespaces_host_network = userns and (await default.features()).user_namespaces
    for name, runtime in [("", default), *node.runtimes.items()]:
        features = await runtime.features()
        response.runtime_handlers.append(
            pb.RuntimeHandler(
                name=name,
                features=pb.RuntimeHandlerFeatures(
                    recursive_read_only_mounts=features.recursive_read_only and node.host.recursive_read_only,
                    user_namespaces=userns and features.user_namespaces,
                ),
            )
        )
    if request.verbose:
        config = {"sandboxImage": node.config().image.pause_image}
        response.info["config"] = msgspec.json.encode(config).decode()
        response.info["crio.conf"] = node.config_text()
    return response
