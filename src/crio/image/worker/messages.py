"""What the daemon and the image worker say to each other: one JSON message per packet of a SOCK_SEQPACKET socket."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from crio.base import errors as base_errors
from crio.base.errors import CrioError, InvalidArgument
from crio.image import errors as image_errors
from crio.image.credentials import Credentials
from crio.image.progress import LayerProgress

LOCAL_TRANSPORTS = ("oci", "oci-archive", "docker-archive", "dir")
"""What an image name may begin with (and a colon) when it stands for a path on the node; also formats of loads."""

NODE_TRANSPORTS = (*LOCAL_TRANSPORTS, "containers-storage")
"""What a name may begin with when its image is on the node already, in a file or in a store."""

MAX_MESSAGE = 160 << 10
"""Bytes; below what the kernel takes in one packet without being asked (net.core.wmem_default)."""


class Settings(msgspec.Struct, frozen=True, omit_defaults=True):
    """The part of the configuration that work needs; sent with each, so that a reload counts from the next one on."""

    short_name_mode: str = "enforcing"
    global_auth_file: str = ""
    namespaced_auth_dir: str = ""
    pause_image: str = ""
    pause_image_auth_file: str = ""
    temporary_directory: str = "/var/tmp"
    kept_directory: str = ""
    """Where pieces of interrupted layers are kept for the next attempt; empty: nowhere."""
    signature_policy: str = ""
    signature_policy_dir: str = ""
    decryption_keys_path: str = ""
    additional_artifact_stores: tuple[str, ...] = ()


class Pull(msgspec.Struct, frozen=True, tag="pull", omit_defaults=True):
    id: int
    image: str
    settings: Settings
    credentials: Credentials | None = None
    namespace: str = ""


class Load(msgspec.Struct, frozen=True, tag="load", omit_defaults=True):
    """`format`: oci, oci-archive, docker-archive, dir, or "" to find out. `names` replace those in the file."""

    id: int
    path: str
    settings: Settings
    format: str = ""
    names: tuple[str, ...] = ()


class Verify(msgspec.Struct, frozen=True, tag="verify", omit_defaults=True):
    """Whether an image in the store may be used in a namespace, under one of these names."""

    id: int
    image_id: str
    names: tuple[str, ...]
    settings: Settings
    namespace: str = ""


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    id: int
    reason: str


class Update(msgspec.Struct, frozen=True, tag="update", omit_defaults=True):
    """What changed since the last one."""

    id: int
    layers: list[LayerProgress] = []
    stage: str = ""


class StoredImage(msgspec.Struct, frozen=True):
    id: str
    names: tuple[str, ...]
    digest: str


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    id: int
    images: tuple[StoredImage, ...]


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """`kind` is the error's class name."""

    id: int
    kind: str
    message: str


Work: TypeAlias = Pull | Load | Verify
Request: TypeAlias = Work | Cancel
Reply: TypeAlias = Update | Finished | Failed

_KNOWN_MODULES = (base_errors.__name__, image_errors.__name__)

_encoder = msgspec.json.Encoder()
_request_decoder: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
_reply_decoder: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)


def encode(message: Request | Reply) -> bytes:
    """Raises InvalidArgument if it does not fit into a packet."""
    data = _encoder.encode(message)
    if len(data) > MAX_MESSAGE:
        raise InvalidArgument(f"cannot ask the image worker: the request is longer than {MAX_MESSAGE} bytes")
    return data


def decode_request(data: bytes) -> Request:
    return _request_decoder.decode(data)


def decode_reply(data: bytes) -> Reply:
    return _reply_decoder.decode(data)


def failure(request_id: int, error: CrioError) -> Failed:
    """The error as its nearest class that the other side knows."""
    kind = next((c for c in type(error).__mro__ if c.__module__ in _KNOWN_MODULES), CrioError)
    return Failed(request_id, kind.__name__, error.message[:4096])


def error_of(reply: Failed) -> CrioError:
    """The error on this side."""
    for module in (image_errors, base_errors):
        kind = getattr(module, reply.kind, None)
        if isinstance(kind, type) and issubclass(kind, CrioError):
            return kind(reply.message)
    return CrioError(reply.message)
