"""`crio status info`: storage and cgroup driver of the running daemon."""

from __future__ import annotations

from crio.cli.crio_commands.command import Call
from crio.cli.crio_commands.inspect_client import get_json
from crio.cli.crio_commands.status_socket import socket_of


def run(call: Call) -> int:
    info = get_json(socket_of(call), "/info")
    print(f"cgroup driver: {info.get('cgroup_driver', '')}")
    print(f"storage driver: {info.get('storage_driver', '')}")
    print(f"storage graph root: {info.get('storage_root', '')}")
    print(f"storage image: {info.get('storage_image', '')}")
    mappings = info.get("default_id_mappings") or {}
    for kind in ("gid", "uid"):
        print(f"default {kind.upper()} mappings (format <container>:<host>:<size>):")
        for mapping in mappings.get(f"{kind}s") or ():
            print(f"  {mapping.get('container_id', 0)}:{mapping.get('host_id', 0)}:{mapping.get('size', 0)}")
    return 0
