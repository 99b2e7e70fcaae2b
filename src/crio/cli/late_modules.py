"""What `crio` and `crioctl` do not load before it is used: a fifth of the daemon's start, and a third of crioctl's."""

from __future__ import annotations

from crio.base.late import load_late, without

LATE = (
    # TLS: only if the streaming or metrics server is told to. Pulls have theirs in the image worker.
    "ssl",
    "asyncio.sslproto",
    # Of libraries, which load more of themselves than the daemon ever needs.
    "google.protobuf.internal.python_message",
    "google.protobuf.text_encoding",
    "msgspec.inspect",
    "msgspec.msgpack",
    "msgspec.toml",
    "msgspec.yaml",
    # Of the standard library, what is for rare moments or only a library's fallback.
    "bz2",
    "glob",
    "hashlib",
    "http",
    "inspect",
    "ipaddress",
    "json",
    "locale",
    "lzma",
    "random",
    "secrets",
    "shlex",
    "shutil",
    "tempfile",
    "urllib.parse",
)


class _NoSslSocket:
    """Stands for `ssl.SSLSocket`: asyncio asks of most sockets whether they are one, and until `ssl` runs none is."""


def load_rarely_used_late() -> None:
    """To be called before anything else of this project, or asyncio, is imported."""
    load_late(LATE, {"ssl": {"SSLSocket": _NoSslSocket}})
    with without("typing_extensions"):  # msgspec takes names of `typing` from there if it can, for most of a megabyte
        import msgspec  # noqa: F401
