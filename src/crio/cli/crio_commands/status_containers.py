"""`crio status containers --id ID`: one container of the running daemon."""

from __future__ import annotations

import datetime
import re

from crio.cli.crio_commands.command import Call
from crio.cli.crio_commands.inspect_client import get_json
from crio.cli.crio_commands.parser import UsageError
from crio.cli.crio_commands.status_socket import socket_of


def run(call: Call) -> int:
    container = call.text("id")
    if not re.fullmatch("[0-9a-zA-Z_.-]+", container):
        raise UsageError("--id needs the id of a container", call.path)
    info = get_json(socket_of(call), f"/containers/{container}")
    created = datetime.datetime.fromtimestamp(int(info.get("created_time") or 0) / 1e9, datetime.UTC)
    print(f"name: {info.get('name', '')}")
    print(f"pid: {info.get('pid', 0)}")
    print(f"image: {info.get('image', '')}")
    print(f"image ref: {info.get('image_ref', '')}")
    print(f"created: {created.isoformat()}")
    for title, field in (
        ("labels", "labels"),
        ("annotations", "annotations"),
        ("CRI-O annotations", "crio_annotations"),
    ):
        print(f"{title}:")
        for name, value in sorted((info.get(field) or {}).items()):
            print(f"  {name}: {value}")
    print(f"log path: {info.get('log_path', '')}")
    print(f"graph root: {info.get('root', '')}")
    print(f"sandbox: {info.get('sandbox', '')}")
    print(f"ips: {', '.join(info.get('ip_addresses') or ())}")
    return 0
