"""Real registries for tests: Debian's docker-registry on loopback, plain or TLS, open, with htpasswd or tokens."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAM = "/usr/bin/docker-registry"
USER, PASSWORD = "kubelet", "open sesame"


@dataclass(frozen=True)
class RunningRegistry:
    host: str
    """`127.0.0.1:port`"""
    directory: str
    ca: str = ""
    """Path of the authority's certificate; empty without TLS."""

    def push(self, source: str, name: str, *options: str) -> None:
        """Copy an image into the registry with skopeo; `source` is skopeo's, for instance `oci:/dir:tag`."""
        login = ["--dest-creds", f"{USER}:{PASSWORD}"] if os.path.exists(f"{self.directory}/htpasswd") else []
        run(
            "skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", *login, *options, source,
            f"docker://{self.host}/{name}",
        )  # fmt: skip

    def blob_path(self, digest: str) -> str:
        """Where the registry keeps a blob."""
        hexadecimal = digest.partition(":")[2]
        return f"{self.directory}/data/docker/registry/v2/blobs/sha256/{hexadecimal[:2]}/{hexadecimal}/data"


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def free_port(count: int = 1) -> int:
    """One that nobody listens on, below those that the kernel gives to clients: nobody takes it in the meantime.

    It is the first of `count` in a row.
    """
    while True:
        port = random.randrange(12_000, 30_000)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for number in range(port, port + count):
                stack.enter_context(socket.socket()).bind(("0.0.0.0", number))
            return port


def make_certificate(directory: str, name: str = "tls") -> tuple[str, str]:
    """A self-signed certificate for 127.0.0.1, localhost and registry.test, and its key."""
    certificate, key = f"{directory}/{name}.crt", f"{directory}/{name}.key"
    run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:registry.test",
        "-keyout", key, "-out", certificate,
    )  # fmt: skip
    return certificate, key


@contextmanager
def registry(directory: str, *, tls: bool = False, htpasswd: bool = False, auth: str = "") -> Iterator[RunningRegistry]:
    """A registry that lives as long as the block. `auth` is the `auth:` section of its configuration."""
    os.makedirs(directory, exist_ok=True)
    ca = ""
    section = ""
    if tls:
        ca, key = make_certificate(directory)
        section = f"  tls:\n    certificate: {ca}\n    key: {key}\n"
    if htpasswd:
        line = run("htpasswd", "-nbB", "-C", "4", USER, PASSWORD)
        with open(f"{directory}/htpasswd", "w") as file:
            file.write(line)
        auth = f"auth:\n  htpasswd:\n    realm: test\n    path: {directory}/htpasswd\n"
    for _ in range(5):
        port = free_port()
        child = _serve(directory, port, section + auth)
        try:
            if not _listens(port, child):
                continue
            yield RunningRegistry(f"127.0.0.1:{port}", directory, ca)
            return
        finally:
            child.kill()
            child.wait()
    raise AssertionError(
        f"the registry does not listen: {Path(f'{directory}/log').read_text(errors='replace')[-2000:]}"
    )


def _serve(directory: str, port: int, sections: str) -> subprocess.Popen[bytes]:
    config = f"{directory}/config.yml"
    with open(config, "w") as file:
        file.write(
            "version: 0.1\nlog:\n  level: error\n"
            f"storage:\n  filesystem:\n    rootdirectory: {directory}/data\n  delete:\n    enabled: true\n"
            f"http:\n  addr: 127.0.0.1:{port}\n{sections}"
        )
    with open(f"{directory}/log", "wb") as log:
        # Any variable that begins with REGISTRY_ would be taken for a setting.
        return subprocess.Popen(
            [PROGRAM, "serve", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={"PATH": "/usr/bin:/bin"}
        )


def _listens(port: int, child: subprocess.Popen[bytes]) -> bool:
    """Wait until it does; False if it has ended, because another has taken the port."""
    end = time.monotonic() + 60
    while child.poll() is None and time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                # Whoever has taken the port first would answer as well.
                return child.poll() is None
        time.sleep(0.02)
    return False
