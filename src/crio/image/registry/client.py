"""One repository at one registry: its manifests and blobs (OCI distribution specification 1.1, pull)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping
from typing import TypeVar

import msgspec

from crio.base.errors import CrioError, NotFound
from crio.base.ids import Digest
from crio.base.jsontext import UNREADABLE
from crio.image import documents
from crio.image.cancellation import Cancellation
from crio.image.credentials import Credentials
from crio.image.documents import Served
from crio.image.errors import BadContent, CredentialsRefused
from crio.image.registries import Endpoint
from crio.image.registry.authorization import Authorization
from crio.image.registry.challenge import parse_challenges
from crio.image.registry.http import HttpClient, Response, TransportFailed, Url, parse_url
from crio.image.registry.retry import ATTEMPTS, Backoff, retry_after
from crio.spec import oci_image
from crio.spec.oci_image import MAX_DOCUMENT

T = TypeVar("T")

CHUNK = 256 << 10
_HUB = "docker.io"
_HUB_HOST = "registry-1.docker.io"
_ACCEPT = ", ".join(documents.ACCEPTED)
_MAX_REDIRECTS = 8
_MAX_ERROR = 64 << 10
_QUICK_ATTEMPTS = 3
"""For the first word with a registry: whoever pulls tries again anyway, and wants to hear soon that it is down."""
_WORTHWHILE = 256 << 10
"""Bytes after which a broken transfer counts as one that goes on."""


class NoRanges(TransportFailed):
    """The server does not send parts of a blob."""

    def __init__(self, message: str) -> None:
        super().__init__(message, hopeless=True)


class _ErrorItem(msgspec.Struct, frozen=True):
    code: str = ""
    message: str = ""


class _ErrorBody(msgspec.Struct, frozen=True):
    errors: tuple[_ErrorItem, ...] = ()


class RegistryClient:
    """Fetches for one pull; its threads may share it."""

    def __init__(
        self, http: HttpClient, endpoint: Endpoint, credentials: Credentials | None, scope: Cancellation
    ) -> None:
        self._http = http
        self._endpoint = endpoint
        self._credentials = credentials
        self._scope = scope
        self._lock = threading.Lock()
        self._chosen: tuple[Url, Authorization] | None = None
        self._has_ranges = False

    @property
    def has_ranges(self) -> bool:
        """Whether the last answer with a blob said that parts of it can be had."""
        return self._has_ranges

    @property
    def host(self) -> str:
        return self._endpoint.reference.domain

    def manifest(self, target: str) -> Served:
        """The manifest or index with this tag or digest.

        Raises NotFound, CredentialsRefused, RegistryUnavailable, BadContent if it is longer than 4 MiB.
        """

        def fetch() -> Served:
            with self._get(f"manifests/{target}", {"Accept": _ACCEPT}, self._scope) as response:
                self._check_status(response, f"manifest {target}")
                return Served(response.read_all(MAX_DOCUMENT), response.header("Content-Type"))

        return self._retried(fetch, _QUICK_ATTEMPTS)

    def blob(
        self,
        digest: Digest,
        size: int | None,
        urls: tuple[str, ...] = (),
        start: int = 0,
        stop: int | None = None,
        *,
        only_ranges: bool = False,
        scope: Cancellation | None = None,
    ) -> Generator[bytes, None, None]:
        """The blob's bytes from `start` up to `stop` or its end, in pieces of at most 256 KiB, across broken
        connections.

        The caller checks the digest; the length is `size` when that is known. `urls` are other places for content that
        registries need not hold; they see no credentials. Raises as `manifest`, BadContent for a wrong length, and with
        `only_ranges` NoRanges if the server would send more than was asked for.
        """
        scope = scope or self._scope
        backoff = Backoff(ATTEMPTS)
        position = start
        milestone = start + _WORTHWHILE
        while True:
            try:
                with self._open_blob(digest, position, stop, urls, scope) as response:
                    if only_ranges and response.status != 206:
                        raise NoRanges(f"cannot get a part of blob {digest} from {self.host}: it does not do ranges")
                    end = _end_of(response, position, stop, size, str(digest))
                    for chunk in _body(response, position, stop):
                        position += len(chunk)
                        if end is not None and position > end:
                            raise BadContent(
                                f"cannot use blob {digest} from {self.host}: it is longer than {end} bytes"
                            )
                        if position >= milestone:
                            backoff.progressed()
                            milestone = position + _WORTHWHILE
                        yield chunk
                if end is None or position == end:
                    return
                raise TransportFailed(
                    f"cannot read blob {digest} from {self.host}: it ends at {position} of {end} bytes"
                )
            except TransportFailed as error:
                self._wait_or_raise(backoff, error, scope)

    def document(self, digest: Digest, size: int, limit: int = MAX_DOCUMENT) -> bytes:
        """A small blob as a whole, verified."""
        if size > limit:
            raise BadContent(f"cannot use blob {digest} from {self.host}: it is longer than {limit} bytes")
        data = b"".join(self.blob(digest, size))
        documents.verify(data, digest, f"blob {digest} from {self.host}")
        return data

    def referrers(self, digest: Digest) -> Served | None:
        """The index of what refers to this manifest; None if the registry does not tell (distribution spec 1.1)."""

        def fetch() -> Served | None:
            with self._get(f"referrers/{digest}", {"Accept": oci_image.INDEX}, self._scope) as response:
                served_as = response.header("Content-Type")
                if response.status != 200 or not served_as.startswith(oci_image.INDEX):
                    return None
                return Served(response.read_all(MAX_DOCUMENT), served_as)

        return self._retried(fetch, _QUICK_ATTEMPTS)

    def signature_list(self, digest: Digest) -> bytes | None:
        """The OpenPGP signatures of a manifest as the registry's own extension lists them; None if it has none."""

        def fetch() -> bytes | None:
            with self._get("/v2/", {}, self._scope) as response:
                if response.header("X-Registry-Supports-Signatures") != "1":
                    return None
            path = f"/extensions/v2/{self._endpoint.reference.path}/signatures/{digest}"
            with self._get(path, {}, self._scope) as response:
                if response.status == 404:
                    return None
                self._check_status(response, f"signatures of {digest}")
                return response.read_all(MAX_DOCUMENT)

        return self._retried(fetch, _QUICK_ATTEMPTS)

    def _open_blob(
        self, digest: Digest, position: int, stop: int | None, urls: tuple[str, ...], scope: Cancellation
    ) -> Response:
        last = "" if stop is None else stop - 1
        headers = {"Range": f"bytes={position}-{last}"} if position or stop is not None else {}
        response = self._get(f"blobs/{digest}", headers, scope)
        if response.status in (404, 403) and urls:
            response.close()
            return self._open_elsewhere(urls, headers, f"blob {digest}", scope)
        try:
            self._check_status(response, f"blob {digest}")
        except BaseException:
            response.close()
            raise
        self._has_ranges = response.status == 206 or (
            not headers and response.header("Accept-Ranges").strip().lower() == "bytes"
        )
        return response

    def _open_elsewhere(
        self, urls: tuple[str, ...], headers: Mapping[str, str], what: str, scope: Cancellation
    ) -> Response:
        last: CrioError = NotFound(f"cannot find {what}: none of its {len(urls)} other places has it")
        for text in urls:
            try:
                response = self._follow(parse_url(text), headers, None, scope)
                if response.status in (200, 206):
                    return response
                response.close()
            except TransportFailed as error:
                last = error
        raise last

    def _get(self, path: str, headers: Mapping[str, str], scope: Cancellation) -> Response:
        """GET below the repository, or below the host if `path` begins with a slash, with what authorization it takes.

        The status may still be an error.
        """
        base, authorization = self._settle()
        url = parse_url(f"{base.scheme}://{base.authority}{path}" if path.startswith("/") else f"{base}/{path}")
        for last in (False, False, True):
            sent = authorization.header
            try:
                response = self._follow(url, headers, authorization, scope)
            except TransportFailed:
                self._http.note_plain(base.authority, plain=False)
                raise
            self._http.note_plain(base.authority, plain=base.scheme == "http")
            if response.status != 401:
                return response
            with response:
                challenges = parse_challenges(response.headers("WWW-Authenticate"))
                detail = "" if not last else _error_text(response)
            if last:
                raise authorization.refusal(detail)
            authorization.satisfy(challenges, sent, scope)
        raise authorization.refusal()

    def _follow(
        self, url: Url, headers: Mapping[str, str], authorization: Authorization | None, scope: Cancellation
    ) -> Response:
        """GET, following redirects. Only the origin that `authorization` is for is shown it."""
        start = url
        for _ in range(_MAX_REDIRECTS):
            sent = dict(headers)
            if authorization is not None and authorization.header and url.origin == start.origin:
                sent["Authorization"] = authorization.header
            insecure = self._endpoint.insecure and authorization is not None and url.host == start.host
            response = self._http.request("GET", url, sent, scope, insecure=insecure)
            if response.status not in (301, 302, 303, 307, 308):
                return response
            with response:
                target = url.join(response.header("Location"))
            if target.scheme == "http" and url.scheme == "https" and not self._endpoint.insecure:
                raise TransportFailed(
                    f"cannot follow registry {start.authority} to {target.authority}: that has no TLS", hopeless=True
                )
            url = target
        raise TransportFailed(f"cannot read from {start.authority}: it redirects without end", hopeless=True)

    def _settle(self) -> tuple[Url, Authorization]:
        """The repository's base URL. A registry that may be insecure is asked by HTTPS first, then by HTTP."""
        with self._lock:
            if self._chosen is None:
                self._chosen = self._probe() if self._endpoint.insecure else self._base("https")
            return self._chosen

    def _probe(self) -> tuple[Url, Authorization]:
        secure = self._base("https")
        if self._http.is_plain(secure[0].authority):
            return self._base("http")
        try:
            url = parse_url(f"https://{secure[0].authority}/v2/")
            with self._http.request("GET", url, {}, self._scope, insecure=True):
                return secure
        except TransportFailed:
            return self._base("http")

    def _base(self, scheme: str) -> tuple[Url, Authorization]:
        name = self._endpoint.reference
        host = _HUB_HOST if name.domain == _HUB else name.domain
        base = parse_url(f"{scheme}://{host}/v2/{name.path}")
        insecure = self._endpoint.insecure
        return base, Authorization(self._http, base, name.path, self._credentials, insecure=insecure)

    def _retried(self, operation: Callable[[], T], attempts: int) -> T:
        backoff = Backoff(attempts)
        while True:
            try:
                return operation()
            except TransportFailed as error:
                self._wait_or_raise(backoff, error, self._scope)

    def _wait_or_raise(self, backoff: Backoff, error: TransportFailed, scope: Cancellation) -> None:
        """To be called while `error` is handled: waits for the next attempt, or raises it."""
        wait = None if error.hopeless else backoff.next_wait(error.retry_after)
        if wait is None:
            raise error
        scope.sleep(wait)

    def _check_status(self, response: Response, what: str) -> None:
        status = response.status
        if status in (200, 206):
            return
        place = f"{self.host}/{self._endpoint.reference.path}"
        detail = _error_text(response)
        suffix = f": {detail}" if detail else ""
        if status == 404:
            raise NotFound(f"cannot find {what} in {place}" + suffix)
        if status == 403:
            raise CredentialsRefused(f"cannot pull {what} from {place}: access is denied" + suffix)
        message = f"cannot pull {what} from {place}: the registry answers {status}{suffix}"
        if status == 429 or status >= 500:
            raise TransportFailed(message, retry_after=retry_after(response.header("Retry-After")))
        raise TransportFailed(message, hopeless=True)


def _body(response: Response, position: int, stop: int | None) -> Generator[bytes, None, None]:
    """The pieces of the body. Of a server that ignored the range, what nobody asked for is passed over."""
    skip = position if response.status == 200 else 0
    left = None if stop is None or response.status == 206 else stop - position
    while (left is None or left > 0) and (chunk := response.read_some(CHUNK)):
        if skip >= len(chunk):
            skip -= len(chunk)
            continue
        chunk = chunk[skip:] if skip else chunk
        skip = 0
        if left is not None:
            chunk = chunk[:left]
            left -= len(chunk)
        yield chunk


def _end_of(response: Response, position: int, stop: int | None, size: int | None, what: str) -> int | None:
    """Where to stop: by the range asked for, the blob's descriptor, or the answer; None if none says. Raises
    BadContent.
    """
    begin = position if response.status == 206 else 0
    if response.status == 206 and not response.header("Content-Range").startswith(f"bytes {position}-"):
        raise TransportFailed(f"cannot resume {what}: the server sends another range", hopeless=True)
    said = None if response.length is None else begin + response.length
    expected = stop if stop is not None and response.status == 206 else size
    if expected is not None and said is not None and said != expected:
        raise BadContent(f"cannot use blob {what}: the server has {said} bytes and not {expected}")
    return stop if stop is not None else said if size is None else size


def _error_text(response: Response) -> str:
    """The registry's own words, cut short."""
    try:
        body = msgspec.json.decode(response.read_all(_MAX_ERROR), type=_ErrorBody)
    except (CrioError, *UNREADABLE):
        return ""
    words = "; ".join(item.message or item.code for item in body.errors[:3])
    return " ".join("".join(c if c.isprintable() else " " for c in words).split())[:300]
