"""Signatures that lie beside a registry: files of a directory, local or served by HTTP, and a registry's own extension.

Directories have `REPOSITORY@ALGORITHM=HEX/signature-N`, N counted from 1 without a gap (the protocol of podman and
skopeo); the extension answers with a list. Blocking; for the image worker.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote, unquote, urlsplit

import msgspec

from crio.base.errors import InvalidArgument
from crio.base.files import read_bounded
from crio.base.ids import Digest
from crio.base.jsontext import UNREADABLE
from crio.image.cancellation import Cancellation
from crio.image.errors import BadContent
from crio.image.registry.http import HttpClient, TransportFailed, Url, parse_url
from crio.image.trust.signatures import MAX_SIGNATURE, MAX_SIGNATURES, MAX_TOTAL, Signature, Unreadable, from_blob
from crio.wire.reference import Reference

_MAX_REDIRECTS = 8


def read(base: str, name: Reference, digest: Digest, http: HttpClient, scope: Cancellation) -> list[Signature]:
    """The signatures below `base` (a file, http or https URL) for a manifest of this repository.

    Raises InvalidArgument for another URL or unreadable files, RegistryUnavailable, BadContent if there is too much.
    """
    parts = urlsplit(base)
    algorithm, _, hexadecimal = digest.partition(":")
    directory = f"/{name.path}@{algorithm}={hexadecimal}"
    if parts.scheme == "file":
        path = unquote(parts.path) + directory
        return _in_order(lambda number: _file(f"{path}/signature-{number}"))
    if parts.scheme not in ("http", "https"):
        raise InvalidArgument(f"cannot use lookaside {base[:200]!r}: it is no file, http or https URL")
    start = parts._replace(path=parts.path.rstrip("/") + quote(directory, safe="/@="), query="", fragment="").geturl()
    return _in_order(lambda number: _served(parse_url(f"{start}/signature-{number}"), http, scope))


def _in_order(read_one: Callable[[int], bytes | None]) -> list[Signature]:
    found: list[Signature] = []
    total = 0
    for number in range(1, MAX_SIGNATURES + 1):
        data = read_one(number)
        if data is None:
            return found
        total += len(data)
        if total > MAX_TOTAL:
            raise BadContent(f"cannot use signatures: there are more than {MAX_TOTAL} bytes of them")
        try:
            found.append(from_blob(data))
        except Unreadable:
            continue
    return found


def _file(path: str) -> bytes | None:
    try:
        return read_bounded(path, MAX_SIGNATURE)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InvalidArgument(f"cannot read signature {path}: {error.strerror}") from None


def _served(url: Url, http: HttpClient, scope: Cancellation) -> bytes | None:
    start = url
    for _ in range(_MAX_REDIRECTS):
        with http.request("GET", url, {}, scope) as response:
            if response.status == 200:
                return response.read_all(MAX_SIGNATURE)
            if response.status in (404, 410):
                return None
            if response.status not in (301, 302, 303, 307, 308):
                raise TransportFailed(f"cannot get {start}: the server answers {response.status}")
            target = url.join(response.header("Location"))
        if url.scheme == "https" and target.scheme != "https":
            raise TransportFailed(
                f"cannot get {start}: it redirects to {target.authority}, which has no TLS", hopeless=True
            )
        url = target
    raise TransportFailed(f"cannot get {start}: it redirects without end", hopeless=True)


class _Listed(msgspec.Struct, rename="camel"):
    schema_version: int = 0
    type: str = ""
    content: bytes = b""


class _List(msgspec.Struct):
    signatures: list[_Listed] | None = None


def from_extension(answer: bytes) -> list[Signature]:
    """The signatures in an answer of a registry's extension API. Raises BadContent."""
    try:
        listed = msgspec.json.decode(answer, type=_List).signatures or []
    except UNREADABLE as error:
        raise BadContent(f"cannot use the registry's list of signatures: {error}") from None
    if len(listed) > MAX_SIGNATURES:
        raise BadContent(f"cannot use the registry's list of signatures: there are more than {MAX_SIGNATURES}")
    found: list[Signature] = []
    for one in listed:
        if one.schema_version == 2 and one.type == "atomic":
            try:
                found.append(from_blob(one.content))
            except Unreadable:
                continue
    return found
