"""TLS for a registry host: the system's authorities, those of certs.d, and a client certificate."""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Sequence

from crio.base.errors import InvalidArgument

DIRECTORIES = ("/etc/containers/certs.d", "/etc/docker/certs.d")


class TlsContexts:
    """Contexts by host, made once: loading the system's authorities costs some 20 ms and 1 MiB."""

    def __init__(self, directories: Sequence[str] = DIRECTORIES) -> None:
        self._directories = directories
        self._lock = threading.Lock()
        self._contexts: dict[tuple[object, ...], ssl.SSLContext] = {}

    def get(self, host: str, port: int, *, insecure: bool) -> ssl.SSLContext:
        """The context for a host; a change of its certificate files gives a new one.

        Raises InvalidArgument naming a file that cannot be used.
        """
        files = self._files(host, port)
        key = (insecure, *((path, os.stat(path).st_mtime_ns) for path in files))
        with self._lock:
            context = self._contexts.get(key)
            if context is None:
                context = self._contexts[key] = _make(files, insecure=insecure)
            return context

    def _files(self, host: str, port: int) -> list[str]:
        names = [f"{host}:{port}", host] if port == 443 else [f"{host}:{port}"]
        for base in self._directories:
            for name in names:
                directory = os.path.join(base, name)
                try:
                    entries = sorted(os.listdir(directory))
                except (FileNotFoundError, NotADirectoryError):
                    continue
                return [os.path.join(directory, e) for e in entries if e.endswith((".crt", ".cert", ".key"))]
        return []


def _make(files: Sequence[str], *, insecure: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_default_certs()
    for path in files:
        try:
            if path.endswith(".crt") and not insecure:
                context.load_verify_locations(cafile=path)
            elif path.endswith(".cert"):
                key = path.removesuffix(".cert") + ".key"
                if key not in files:
                    raise InvalidArgument(f"cannot use client certificate {path}: {key} is missing")
                context.load_cert_chain(path, key)
        except (ssl.SSLError, OSError) as error:
            raise InvalidArgument(f"cannot use certificate {path}: {error}") from None
    return context
