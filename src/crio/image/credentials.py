"""Registry credentials: what they are, and the files in which they are looked for (containers-auth.json(5)).

The first place that has an entry wins: the request itself, the one-use file of the pod's namespace, the pause image's
file, the global file, then the files and helper programs of the system. In a file the longest match of
host/path/repository wins. Files are read anew for each pull. Secrets never reach a message or a repr.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping

import msgspec

from crio.base.errors import CrioError, InvalidArgument
from crio.base.files import read_bounded
from crio.base.jsontext import UNREADABLE
from crio.base.regex import regex
from crio.wire.reference import DEFAULT_DOMAIN, Reference

log = logging.getLogger(__name__)

_MAX_FILE = 1 << 20
_LEGACY_HUB = ("index.docker.io", "registry-1.docker.io")
_HELPER_NAME = regex(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_TOKEN_USER = "<token>"
"""The user name by which a helper says that its secret is an identity token."""
AUTH_FILE_HELPER = "containers-auth.json"
"""The entry of registries.conf's credential-helpers that stands for the files below."""


class Credentials(msgspec.Struct, frozen=True, omit_defaults=True):
    """User name and password, or one of the two kinds of token: `identity_token` is exchanged at the token server for
    one that the registry takes, `registry_token` is sent to the registry as it is.

    `auth` is another spelling of name and password: base64 of `user:password`; see `plain`.
    """

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""
    auth: str = ""

    def plain(self) -> Credentials:
        """The same with name and password in their own fields. Raises InvalidArgument if `auth` is malformed."""
        if not self.auth:
            return self
        username, password = (self.username, self.password) if self.username else decode_auth(self.auth)
        return Credentials(username, password, self.identity_token, self.registry_token)

    def __repr__(self) -> str:
        kind = "registry token" if self.registry_token else "identity token" if self.identity_token else "password"
        return f"<Credentials {self.username or kind}>" if self else "<Credentials none>"

    def __bool__(self) -> bool:
        return bool(self.username or self.identity_token or self.registry_token or self.auth)

    @property
    def fingerprint(self) -> bytes:
        """Equal for equal credentials, and of no use to anyone else."""
        return hashlib.sha256(msgspec.json.encode(self)).digest() if self else b""


def decode_auth(text: str) -> tuple[str, str]:
    """User name and password out of base64 of `user:password`. Raises InvalidArgument."""
    try:
        user, colon, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        colon = ""
    if not colon:
        raise InvalidArgument("cannot use the registry credentials: auth is not the base64 of user:password")
    return user, password.rstrip("\0")


class _Entry(msgspec.Struct, frozen=True, rename="lower"):
    auth: str | None = None
    username: str | None = None
    password: str | None = None
    identitytoken: str | None = None
    registrytoken: str | None = None


class _AuthFile(msgspec.Struct, frozen=True, rename="camel"):
    auths: dict[str, _Entry] | None = None
    cred_helpers: dict[str, str] | None = None
    creds_store: str | None = None


Helper = Callable[[str, str], Credentials | None]
"""Asks the helper program of a name (first argument) for a registry's (second) credentials."""


class CredentialSources(msgspec.Struct, frozen=True):
    """Where to look, as the configuration says. An empty path means no such file."""

    namespaced_auth_dir: str = ""
    pause_image: str = ""
    pause_image_auth_file: str = ""
    global_auth_file: str = ""


def find(
    image: str,
    name: Reference,
    requested: Credentials | None,
    namespace: str,
    sources: CredentialSources,
    *,
    helper: Helper,
    credential_helpers: tuple[str, ...] = (),
    environ: Mapping[str, str] = os.environ,
) -> Callable[[Reference], Credentials | None]:
    """A function from the place that is really asked to its credentials.

    `image` is the name as it was requested, `name` its full form. What the request and its special files carry is for
    the image's own registry and nobody else: a mirror on another host gets only what the system's files hold for it.
    Raises InvalidArgument for a broken file that was named for this image.
    """
    own = requested or _special(image, name, namespace, sources)

    def for_endpoint(place: Reference) -> Credentials | None:
        if own is not None and place.domain == name.domain:
            return own
        return _from_system(place, sources.global_auth_file, helper, credential_helpers, environ)

    return for_endpoint


def _special(image: str, name: Reference, namespace: str, sources: CredentialSources) -> Credentials | None:
    if namespace and sources.namespaced_auth_dir:
        file = _take_namespaced(sources.namespaced_auth_dir, namespace, image)
        if file is not None and (found := _lookup(file, name, None)):
            return found
    if sources.pause_image_auth_file and image == sources.pause_image:
        return _lookup(_read(sources.pause_image_auth_file), name, None)
    return None


def _take_namespaced(directory: str, namespace: str, image: str) -> _AuthFile | None:
    """Read a one-use file. It is moved aside first, so that no second pull gets it."""
    if "/" in namespace or namespace.startswith("."):
        raise InvalidArgument(f"cannot use namespace {namespace!r}: it is not a Kubernetes name")
    path = os.path.join(directory, f"{namespace}-{hashlib.sha256(image.encode()).hexdigest()}.json")
    aside = f"{path}.{secrets.token_hex(4)}"
    try:
        os.rename(path, aside)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return _read(aside)
    finally:
        os.unlink(aside)


def _from_system(
    place: Reference,
    global_file: str,
    helper: Helper,
    credential_helpers: tuple[str, ...],
    environ: Mapping[str, str],
) -> Credentials | None:
    if global_file and (found := _lookup(_read(global_file), place, helper)):
        return found
    for name in credential_helpers or (AUTH_FILE_HELPER,):
        if name != AUTH_FILE_HELPER:
            found = _ask(helper, name, place.domain)
        else:
            found = next((f for file in _system_files(environ) if (f := _lookup(file, place, helper))), None)
        if found is not None:
            return found
    return None


def system_paths(environ: Mapping[str, str]) -> list[str]:
    """The files of the system that may hold credentials, in the order in which they are looked at."""
    if named := environ.get("REGISTRY_AUTH_FILE"):
        return [named]
    home = environ.get("HOME", "/root")
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/containers/{os.getuid()}"
    base = f"{runtime}/containers" if environ.get("XDG_RUNTIME_DIR") else runtime
    return [
        f"{base}/auth.json",
        f"{environ.get('XDG_CONFIG_HOME') or home + '/.config'}/containers/auth.json",
        f"{environ.get('DOCKER_CONFIG') or home + '/.docker'}/config.json",
        f"{home}/.dockercfg",
    ]


def _system_files(environ: Mapping[str, str]) -> Iterator[_AuthFile]:
    """The system's files that can be read; a broken one concerns other images too, so it is only warned of."""
    for path in system_paths(environ):
        try:
            yield _read(path, legacy=path.endswith(".dockercfg"))
        except InvalidArgument as error:
            if os.path.exists(path):
                log.warning("%s", error.message)


def _read(path: str, *, legacy: bool = False) -> _AuthFile:
    try:
        data = read_bounded(path, _MAX_FILE) or b"{}"
        if legacy:
            return _AuthFile(auths=msgspec.json.decode(data, type=dict[str, _Entry]))
        return msgspec.json.decode(data, type=_AuthFile)
    except (OSError, CrioError) as error:
        raise InvalidArgument(f"cannot read registry credentials: {error}") from None
    except UNREADABLE:
        # The decoder's message could quote a secret.
        raise InvalidArgument(f"cannot read registry credentials: {path} is not in auth.json format") from None


def _lookup(file: _AuthFile, place: Reference, helper: Helper | None) -> Credentials | None:
    if helper is not None:
        name = (file.cred_helpers or {}).get(place.domain)
        if name and (found := _ask(helper, name, place.domain)):
            return found
    auths = {_normal_key(key): entry for key, entry in (file.auths or {}).items()}
    for key in _keys(place):
        if key in auths and (found := _from_entry(auths[key])):
            return found
    if helper is not None and file.creds_store:
        return _ask(helper, file.creds_store, place.domain)
    return None


def _keys(place: Reference) -> Iterator[str]:
    """What a reference may be filed under: the repository, its parents, the host."""
    key = place.repository
    while True:
        yield key
        if "/" not in key:
            return
        key = key.rpartition("/")[0]


def _normal_key(key: str) -> str:
    """Docker files registries by URL, with a version as path; both are left out here."""
    _, scheme, rest = key.partition("://")
    text = rest if scheme else key
    text = re.sub(r"/v[12]/?$", "", text).rstrip("/")
    host, slash, path = text.partition("/")
    return (DEFAULT_DOMAIN if host in _LEGACY_HUB else host) + slash + path


def _from_entry(entry: _Entry) -> Credentials | None:
    user, password = entry.username or "", entry.password or ""
    if entry.auth:
        user, password = decode_auth(entry.auth)
    found = Credentials(user, password, entry.identitytoken or "", entry.registrytoken or "")
    return found if found else None


def _ask(helper: Helper, name: str, host: str) -> Credentials | None:
    if not _HELPER_NAME.fullmatch(name):
        log.warning("cannot use credential helper %r: it is not a plain name", name)
        return None
    try:
        return helper(name, "https://index.docker.io/v1/" if host == DEFAULT_DOMAIN else host)
    except (CrioError, OSError) as error:
        log.warning("cannot ask credential helper %s for %s: %s", name, host, error)
        return None


class _HelperAnswer(msgspec.Struct, frozen=True, rename="pascal"):
    username: str = ""
    secret: str = ""


def parse_helper_answer(data: bytes) -> Credentials | None:
    """What a helper program printed for `get`. Raises InvalidArgument."""
    try:
        answer = msgspec.json.decode(data, type=_HelperAnswer)
    except UNREADABLE:
        raise InvalidArgument("its answer is not the JSON of a credential helper") from None
    if not answer.secret:
        return None
    if answer.username == _TOKEN_USER:
        return Credentials(identity_token=answer.secret)
    return Credentials(answer.username, answer.secret)
