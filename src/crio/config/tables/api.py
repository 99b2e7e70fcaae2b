"""[crio.api]: the CRI socket and the streaming server."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from crio.config.key import RESTART, Key, Reload, Unit

_LIMIT = 80 * 1024 * 1024


class Api(Struct, frozen=True):
    """[crio.api]"""

    listen: Annotated[
        str, Key("Path of the unix socket that serves the CRI and the inspect endpoints, with mode 0660.", RESTART)
    ] = "/var/run/crio/crio.sock"
    stream_address: Annotated[
        str, Key("IP address on which the server for exec, attach and port-forward streams listens.", RESTART)
    ] = "127.0.0.1"
    stream_port: Annotated[str, Key('Port of the streaming server, as a string. "0" takes a free one.', RESTART)] = "0"
    stream_enable_tls: Annotated[bool, Key("Serve streams over TLS.", RESTART, env="CONTAINER_ENABLE_TLS")] = False
    stream_idle_timeout: Annotated[
        float,
        Key(
            'A stream without traffic is closed after this time. Empty: "4h".',
            unit=Unit.DURATION,
            env="STREAM_IDLE_TIMEOUT",
        ),
    ] = 4 * 3600.0
    stream_tls_cert: Annotated[
        str,
        Key(
            "Certificate (PEM) of the streaming server. A changed file is taken over.",
            Reload.WATCHED,
            env="CONTAINER_TLS_CERT",
        ),
    ] = ""
    stream_tls_key: Annotated[
        str,
        Key(
            "Private key (PEM) of the streaming server. A changed file is taken over.",
            Reload.WATCHED,
            env="CONTAINER_TLS_KEY",
        ),
    ] = ""
    stream_tls_ca: Annotated[
        str,
        Key(
            "Certificates (PEM) that clients of the streaming server must be signed by. Empty: any client. A "
            "changed file is taken over.",
            Reload.WATCHED,
            env="CONTAINER_TLS_CA",
        ),
    ] = ""
    tls_min_version: Annotated[
        str,
        Key(
            "Lowest version of TLS that the streaming and metrics servers accept.",
            RESTART,
            choices=("VersionTLS12", "VersionTLS13"),
        ),
    ] = "VersionTLS12"
    tls_cipher_suites: Annotated[
        tuple[str, ...],
        Key("Cipher suites for TLS 1.2, by their IANA names. Empty: the safe ones of OpenSSL.", RESTART),
    ] = ()
    grpc_max_send_msg_size: Annotated[int, Key("Largest answer in bytes. 0 or less: the default.", RESTART)] = _LIMIT
    grpc_max_recv_msg_size: Annotated[int, Key("Largest request in bytes. 0 or less: the default.", RESTART)] = _LIMIT
