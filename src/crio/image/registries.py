"""registries.conf, version 2, with its drop-ins: where an image name leads (containers-registries.conf(5)).

A `[[registry]]` table applies to references that start with its prefix; the longest prefix wins. It can block them,
send them to another location, and put mirrors before that. What an image is called in the store is never changed by
it. Read anew for each pull. Pure but for `load`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from crio.base.errors import CrioError, FailedPrecondition, InvalidArgument, PermissionDenied
from crio.base.files import read_bounded
from crio.wire import reference
from crio.wire.reference import DEFAULT_DOMAIN, Reference

CONF_FILE = "/etc/containers/registries.conf"
CONF_DIRECTORY = "/etc/containers/registries.conf.d"
ALIASES_FILE = "/var/cache/containers/short-name-aliases.conf"
"""Where podman and buildah note what a short name was chosen to mean; such a choice counts more than the files."""
_MAX_FILE = 4 << 20
_STAND_IN = "host.invalid"
_V1_SECTIONS = ("search", "insecure", "block")


class Mirror(msgspec.Struct, frozen=True, rename="kebab"):
    """`pull_from_mirror`: all, digest-only or tag-only; empty means all."""

    location: str
    insecure: bool = False
    pull_from_mirror: str = ""


class Registry(msgspec.Struct, frozen=True, rename="kebab"):
    prefix: str = ""
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirror_by_digest_only: bool = False
    mirror: tuple[Mirror, ...] = ()


class _File(msgspec.Struct, frozen=True, rename="kebab"):
    unqualified_search_registries: tuple[str, ...] | None = None
    registry: tuple[Registry, ...] = ()
    aliases: dict[str, str] = {}
    short_name_mode: str | None = None
    credential_helpers: tuple[str, ...] | None = None


class Endpoint(msgspec.Struct, frozen=True):
    """One place to pull from."""

    reference: Reference
    """What to ask for there."""
    insecure: bool
    """TLS certificates are not checked, and plain HTTP is allowed."""
    mirror: bool


class Registries(msgspec.Struct, frozen=True):
    """The whole configuration, merged. `search` is None when no file says anything about it."""

    by_prefix: Mapping[str, Registry] = msgspec.field(default_factory=dict)
    search: tuple[str, ...] | None = None
    aliases: Mapping[str, str] = msgspec.field(default_factory=dict)
    credential_helpers: tuple[str, ...] = ()

    def endpoints(self, name: Reference) -> list[Endpoint]:
        """Where to pull `name` from, in the order to try. Raises PermissionDenied if its registry is blocked."""
        registry = self.find(name)
        if registry is None:
            return [Endpoint(name, insecure=False, mirror=False)]
        if registry.blocked:
            raise PermissionDenied(f"cannot pull {name}: registry {registry.prefix} is blocked in registries.conf")
        mirrors = [
            Endpoint(_rewrite(name, registry.prefix, mirror.location), mirror.insecure, mirror=True)
            for mirror in registry.mirror
            if _serves(registry, mirror, name)
        ]
        return [*mirrors, Endpoint(_rewrite(name, registry.prefix, registry.location), registry.insecure, mirror=False)]

    def find(self, name: Reference) -> Registry | None:
        """The table that applies to `name`."""
        best = max((p for p in self.by_prefix if _match_length(name, p)), key=lambda p: _rank(name, p), default=None)
        return None if best is None else self.by_prefix[best]

    def candidates(self, text: str, short_name_mode: str = "enforcing") -> list[Reference]:
        """The full names that `text` may mean, in the order to try; a full name means itself.

        A short name is looked for among the aliases, then in the search registries: docker.io when none are configured.
        Raises InvalidArgument if it is malformed, FailedPrecondition if short names are switched off by an empty list,
        or if several registries could have it and `short_name_mode` is enforcing.
        """
        name = reference.parse(text).with_default_tag()
        if not reference.is_short_name(text):
            return [name]
        bare, target = _split_short(text)
        alias = self.aliases.get(bare)
        if alias is not None:
            return [msgspec.structs.replace(reference.parse(alias), tag=name.tag, digest=name.digest)]
        if self.search is None:
            return [name]
        if not self.search:
            raise FailedPrecondition(
                f"cannot tell which registry {text!r} is in: registries.conf has no unqualified-search-registries; "
                "use the full name"
            )
        if len(self.search) > 1 and short_name_mode != "disabled":
            raise FailedPrecondition(
                f"cannot tell which registry {text!r} is in: {', '.join(self.search)} are searched and "
                "short_name_mode is enforcing; use the full name"
            )
        return [reference.parse(f"{registry}/{bare}{target}").with_default_tag() for registry in self.search]

    def local_candidates(self, text: str) -> list[Reference]:
        """The full names under which `text` may be in the store, in the order to look."""
        name = reference.parse(text).with_default_tag()
        if not reference.is_short_name(text):
            return [name]
        bare, target = _split_short(text)
        alias = self.aliases.get(bare)
        found = (
            [msgspec.structs.replace(reference.parse(alias), tag=name.tag, digest=name.digest)]
            if alias is not None
            else []
        )
        places = ("localhost", *(self.search or ()), DEFAULT_DOMAIN)
        found += [reference.parse(f"{place}/{bare}{target}").with_default_tag() for place in places]
        return list(dict.fromkeys(found))


def load(environ: Mapping[str, str] = os.environ, aliases_file: str = ALIASES_FILE) -> Registries:
    """The configuration of this machine, or of the files that the environment names.

    CONTAINERS_REGISTRIES_CONF and CONTAINERS_REGISTRIES_CONF_DIR name other places than /etc/containers/registries.conf
    and registries.conf.d. A missing file is an empty one. Raises InvalidArgument naming the file that is wrong.
    """
    main = environ.get("CONTAINERS_REGISTRIES_CONF") or CONF_FILE
    directory = environ.get("CONTAINERS_REGISTRIES_CONF_DIR") or CONF_DIRECTORY
    chosen = _read(aliases_file)
    files = [*map(_read, [main, *drop_ins(directory)]), chosen and _File(aliases=chosen.aliases)]
    return merge(filter(None, files))


def drop_ins(directory: str) -> list[str]:
    """The drop-in files in the order in which they are read."""
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [os.path.join(directory, name) for name in names if name.endswith(".conf")]


def parse(text: str, path: str) -> _File:
    """One file. Raises InvalidArgument."""
    try:
        document = tomllib.loads(text)
        if any(section in document.get("registries", {}) for section in _V1_SECTIONS):
            raise InvalidArgument(
                f"cannot use {path}: it is in format version 1; use [[registry]] and unqualified-search-registries"
            )
        file = msgspec.convert(document, type=_File)
        return msgspec.structs.replace(file, registry=tuple(_checked(item) for item in file.registry))
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError, AttributeError, TypeError) as error:
        raise InvalidArgument(f"cannot use {path}: {error}") from None
    except InvalidArgument as error:
        raise InvalidArgument(error.message if path in error.message else f"cannot use {path}: {error}") from None


def merge(files: Iterable[_File]) -> Registries:
    """Later files win: a table replaces the one with the same prefix, a list the whole list, an alias its namesake."""
    by_prefix: dict[str, Registry] = {}
    aliases: dict[str, str] = {}
    search: tuple[str, ...] | None = None
    helpers: tuple[str, ...] = ()
    for file in files:
        by_prefix.update({item.prefix: item for item in file.registry})
        aliases.update(file.aliases)
        search = search if file.unqualified_search_registries is None else file.unqualified_search_registries
        helpers = helpers if file.credential_helpers is None else file.credential_helpers
    return Registries(by_prefix, search, {name: full for name, full in aliases.items() if full}, helpers)


def _read(path: str) -> _File | None:
    try:
        text = read_bounded(path, _MAX_FILE).decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, CrioError) as error:
        raise InvalidArgument(f"cannot use {path}: {error}") from None
    return parse(text, path)


def _checked(item: Registry) -> Registry:
    prefix = (item.prefix or item.location).strip().rstrip("/")
    location = item.location.strip().rstrip("/")
    for text in (prefix, location, *(mirror.location for mirror in item.mirror)):
        if "://" in text:
            raise InvalidArgument(f"cannot use registry {text!r}: leave out the scheme")
    if not prefix:
        raise InvalidArgument("cannot use a [[registry]] table without prefix and location")
    wildcard = prefix.startswith("*.")
    if "*" in prefix[1 if wildcard else 0 :] or (wildcard and "/" in prefix):
        raise InvalidArgument(f"cannot use prefix {prefix!r}: a wildcard has the form *.example.com")
    if not location and not wildcard:
        location = prefix
    for mirror in item.mirror:
        if not mirror.location.strip():
            raise InvalidArgument(f"cannot use registry {prefix}: a mirror has no location")
        if mirror.pull_from_mirror not in ("", "all", "digest-only", "tag-only"):
            raise InvalidArgument(
                f"cannot use registry {prefix}: pull-from-mirror is {mirror.pull_from_mirror!r} and not "
                "all, digest-only or tag-only"
            )
        if mirror.pull_from_mirror and item.mirror_by_digest_only:
            raise InvalidArgument(
                f"cannot use registry {prefix}: mirror-by-digest-only and pull-from-mirror exclude each other"
            )
    return msgspec.structs.replace(item, prefix=prefix, location=location)


def _serves(registry: Registry, mirror: Mirror, name: Reference) -> bool:
    if registry.mirror_by_digest_only or mirror.pull_from_mirror == "digest-only":
        return name.digest is not None
    return not (mirror.pull_from_mirror == "tag-only" and name.digest is not None)


def _match_length(name: Reference, prefix: str) -> int:
    """How many characters of the reference the prefix stands for; 0 if it does not match."""
    if prefix.startswith("*."):
        host = name.domain.partition(":")[0] if ":" not in prefix else name.domain
        return len(name.domain) if host.endswith(prefix[1:]) and len(host) > len(prefix) - 1 else 0
    text = str(name)
    if not text.startswith(prefix):
        return 0
    boundaries = "/:@" if "/" in prefix else "/"
    return len(prefix) if len(text) == len(prefix) or text[len(prefix)] in boundaries else 0


def _rank(name: Reference, prefix: str) -> tuple[int, bool, int]:
    """Longest match first; a literal host before a wildcard; a longer wildcard before a shorter one."""
    return _match_length(name, prefix), not prefix.startswith("*"), len(prefix)


def _rewrite(name: Reference, prefix: str, location: str) -> Reference:
    """The reference below `location`, whose first component is a host even if it looks like none."""
    if not location:
        return name
    host, _, below = (location.strip().rstrip("/") + str(name)[_match_length(name, prefix) :]).partition("/")
    return msgspec.structs.replace(
        reference.parse(f"{_STAND_IN}/{below}"), domain=host, tag=name.tag, digest=name.digest
    )


def _split_short(text: str) -> tuple[str, str]:
    """A short name's repository, and its tag and digest with their signs."""
    cut = min((index for index in (text.find(":"), text.find("@")) if index >= 0), default=len(text))
    return text[:cut], text[cut:]


def describe(endpoints: Sequence[Endpoint]) -> str:
    """The places, for a message."""
    return ", ".join(str(endpoint.reference.domain) for endpoint in endpoints)
