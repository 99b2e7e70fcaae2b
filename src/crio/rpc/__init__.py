"""gRPC on a unix socket, with HTTP/1 beside it: the server of the daemon, and a light client for crioctl and plug-ins.

`server` owns the socket and its connections, `service` binds handlers to the methods of a proto service, `status` is
the one place where errors become gRPC status codes, `client` calls. The protocols themselves (HTTP/2, HPACK, gRPC
frames, HTTP/1) are in wire/. What a method does is not here but in cri/; nothing here knows a pod or an image.
"""

from __future__ import annotations

from crio.rpc.service import Call, Context, Handler, Interceptor, Method, Peer, service_table

__all__ = ["Call", "Context", "Handler", "Interceptor", "Method", "Peer", "service_table"]
