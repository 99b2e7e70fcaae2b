"""Layers, honest and other, as tar bytes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from functools import cache
from typing import Any

from crio.base.files import read_bounded
from crio.image.assemble import busybox_applets

BUSYBOX = "/bin/busybox"


def entry(name: str, content: bytes | None = None, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """One entry: a file with this content, or a directory for None; `fields` are those of TarInfo."""
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
    info.mode = 0o755 if content is None else 0o644
    info.size = len(content or b"")
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content or b""


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, b"", type=tarfile.SYMTYPE, linkname=target, mode=0o777)


def hardlink(name: str, target: str, mode: int = 0o644) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, b"", type=tarfile.LNKTYPE, linkname=target, mode=mode)


def tar(entries: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@cache
def busybox() -> bytes:
    """A root file system with a static busybox and nothing below /etc."""
    binary = read_bounded(BUSYBOX, 64 << 20)
    entries = [entry(name) for name in ("bin", "dev", "proc", "sys", "tmp", "root", "usr")]
    entries.append(entry("bin/busybox", binary, mode=0o755))
    entries += [hardlink(f"bin/{name}", "bin/busybox", 0o755) for name in busybox_applets(binary) if name != "busybox"]
    return tar(entries)


@cache
def accounts() -> bytes:
    """/etc with a root user, and user `web` whose primary group is `staff`."""
    return tar(
        [
            entry("etc"),
            entry("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:50:web:/:/bin/sh\n"),
            entry("etc/group", b"root:x:0:\nstaff:x:50:\ndocker:x:998:web\n"),
        ]
    )
