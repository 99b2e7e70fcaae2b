"""From a registry's challenge to the Authorization header that satisfies it (distribution spec; RFC 6749 for refresh).

One object per registry and pull. Credentials go to the registry itself, and to the token server which that registry
names, by HTTPS unless the registry itself is spoken to without.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence
from urllib.parse import urlencode

import msgspec

from crio.base.jsontext import UNREADABLE
from crio.image.cancellation import Cancellation
from crio.image.credentials import Credentials
from crio.image.errors import CredentialsRefused
from crio.image.registry.challenge import Challenge
from crio.image.registry.http import HttpClient, TransportFailed, Url, parse_url
from crio.image.registry.retry import retry_after

_MAX_ANSWER = 1 << 20
_CLIENT_ID = "cri-o"


class _Token(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""


class Authorization:
    """Thread-safe: threads that are challenged at the same time cause one exchange with the token server."""

    def __init__(
        self, http: HttpClient, registry: Url, path: str, credentials: Credentials | None, *, insecure: bool
    ) -> None:
        self._http = http
        self._registry = registry
        self._own_scope = f"repository:{path}:pull"
        self._credentials = credentials
        self._insecure = insecure
        self._lock = threading.Lock()
        self._header = ""
        if credentials is not None and credentials.registry_token:
            self._header = f"Bearer {credentials.registry_token}"

    @property
    def header(self) -> str:
        """The value to send, "" if there is none (yet)."""
        return self._header

    def satisfy(self, challenges: Sequence[Challenge], refused: str, scope: Cancellation) -> None:
        """Get a new `header` after the registry refused a request that carried `refused`.

        Raises CredentialsRefused if there is none to be had, TransportFailed if the token server gives no answer.
        """
        with self._lock:
            if self._header != refused:
                return
            bearer = next((item for item in challenges if item.scheme == "bearer"), None)
            if bearer is not None and not (self._credentials and self._credentials.registry_token):
                self._header = f"Bearer {self._fetch_token(bearer, scope)}"
            elif any(item.scheme == "basic" for item in challenges) and not refused:
                self._header = self._basic()
            else:
                raise self.refusal()

    def refusal(self, detail: str = "") -> CredentialsRefused:
        reason = (
            f"the registry does not accept {self._describe()}"
            if self._credentials
            else "it needs credentials, or there is no such repository"
        )
        repository = self._own_scope.split(":")[1]
        return CredentialsRefused(
            f"cannot pull {repository} from {self._registry.authority}: {reason}" + (f": {detail}" if detail else "")
        )

    def _describe(self) -> str:
        user = self._credentials.username if self._credentials else ""
        return f"the credentials of user {user!r}" if user else "the token"

    def _basic(self) -> str:
        if not self._credentials or not self._credentials.username:
            raise self.refusal()
        pair = f"{self._credentials.username}:{self._credentials.password}"
        return "Basic " + base64.b64encode(pair.encode()).decode()

    def _fetch_token(self, challenge: Challenge, scope: Cancellation) -> str:
        realm = self._realm(challenge)
        fields = {"service": challenge.parameters.get("service", ""), "scope": self._wanted(challenge)}
        credentials = self._credentials
        headers: dict[str, str] = {}
        body = None
        if credentials and credentials.identity_token:
            form = {
                **fields,
                "grant_type": "refresh_token",
                "client_id": _CLIENT_ID,
                "refresh_token": credentials.identity_token,
            }
            body = urlencode(form).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        else:
            if credentials and credentials.username:
                headers["Authorization"] = self._basic()
                fields["account"] = credentials.username
            query = urlencode({name: value for name, value in fields.items() if value})
            realm = parse_url(f"{realm}{'&' if '?' in realm.path else '?'}{query}")
        # Whoever runs a registry without proper TLS may do so with its token server only if that is the same host.
        insecure = self._insecure and realm.host == self._registry.host
        method = "GET" if body is None else "POST"
        with self._http.request(method, realm, headers, scope, insecure=insecure, body=body) as response:
            data = response.read_all(_MAX_ANSWER)
            if response.status in (400, 401, 403):
                raise self.refusal()
            if response.status != 200:
                raise TransportFailed(
                    f"cannot get a token from {realm.authority}: it answers {response.status}",
                    retry_after=retry_after(response.header("Retry-After")),
                )
        try:
            answer = msgspec.json.decode(data, type=_Token)
        except UNREADABLE:
            raise TransportFailed(f"cannot get a token from {realm.authority}: its answer has none") from None
        token = answer.token or answer.access_token
        if not token or not token.isascii() or not token.isprintable():
            raise TransportFailed(f"cannot get a token from {realm.authority}: its answer has none")
        return token

    def _realm(self, challenge: Challenge) -> Url:
        realm = parse_url(challenge.parameters.get("realm", ""))
        if realm.scheme != "https" and self._registry.scheme == "https" and not self._insecure:
            raise TransportFailed(
                f"cannot get a token for {self._registry.authority}: its token server {realm.authority} has no TLS",
                hopeless=True,
            )
        return realm

    def _wanted(self, challenge: Challenge) -> str:
        """The registry may know the repository by another name, but may not make us ask for more than to pull."""
        asked = challenge.parameters.get("scope", "")
        return (
            asked
            if asked.startswith("repository:") and asked.endswith(":pull") and " " not in asked
            else self._own_scope
        )
