"""What a runtime says of itself (OCI runtime spec, features.md)."""

from __future__ import annotations

import re

import msgspec

from crio.base.jsontext import UNREADABLE
from crio.base.regex import regex

_CRUN_VERSION = regex(rb"^crun version (\d+)\.(\d+)", re.MULTILINE)


class Features(msgspec.Struct, frozen=True):
    """The parts that the CRI hands on to the kubelet."""

    recursive_read_only: bool = False
    idmapped_mounts: bool = False
    user_namespaces: bool = False
    """It can put a container into a user namespace that is there already."""
    seccomp_program: bool = False
    """It takes a ready-made seccomp filter by annotation. Not in the document: only crun can do it."""


class _Extension(msgspec.Struct):
    enabled: bool = False


class _MountExtensions(msgspec.Struct):
    idmap: _Extension = msgspec.field(default_factory=_Extension)


class _Linux(msgspec.Struct, rename="camel"):
    namespaces: list[str] = []
    mount_extensions: _MountExtensions = msgspec.field(default_factory=_MountExtensions)


class _Document(msgspec.Struct, rename="camel"):
    mount_options: list[str] = []
    linux: _Linux = msgspec.field(default_factory=_Linux)


def parse_features(text: bytes, *, seccomp_program: bool = False) -> Features:
    """The runtime's answer; one that can't be understood promises nothing."""
    try:
        document = msgspec.json.decode(text, type=_Document)
    except UNREADABLE:
        return Features(seccomp_program=seccomp_program)
    return Features(
        recursive_read_only="rro" in document.mount_options,
        idmapped_mounts=document.linux.mount_extensions.idmap.enabled,
        user_namespaces="user" in document.linux.namespaces,
        seccomp_program=seccomp_program,
    )


def known_of_crun(version: bytes) -> Features:
    """What a crun can do that is too old to tell it (before 1.8.6), by its answer to `--version`."""
    found = _CRUN_VERSION.search(version)
    release = (int(found[1]), int(found[2])) if found else (0, 0)
    return Features(recursive_read_only=release >= (1, 4), user_namespaces=found is not None, seccomp_program=True)
