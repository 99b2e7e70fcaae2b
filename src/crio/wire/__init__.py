"""Protocols and formats without I/O: bytes in, events and bytes out, every length with a limit.

HTTP/1, HTTP/2 with HPACK, gRPC's framing, SPDY, WebSocket and the kubelet's streams in them, D-Bus, tar, CRI log lines,
image references, systemd's notifications. No sockets, clocks or asyncio: whoever owns the bytes feeds them in. Used by
rpc/, streaming/, image/, storage/, conmon/ and the commands.
"""
