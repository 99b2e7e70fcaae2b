"""Registries and trust: whether their files can be read, and whether the named registries can be reached."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from crio.base.errors import CrioError
from crio.cli.doctor.finding import Finding, Patient, error, ok, warning

_SECONDS = 3.0
_MAX_HOSTS = 16


def check(patient: Patient) -> Iterator[Finding]:
    if patient.loaded is None:
        return
    from crio.image import registries

    image = patient.loaded.config.image
    try:
        configured = registries.load()
    except CrioError as problem:
        yield error("registries", problem.message, "correct that file: no image can be pulled until then")
        return
    if configured.search is not None and len(configured.search) > 1 and image.short_name_mode != "disabled":
        names = ", ".join(configured.search)
        text = f"short image names are refused: {names} are searched, and short_name_mode is enforcing"
        yield warning("registries", text, "use full names, or leave one registry in unqualified-search-registries")
    yield from _policy(image.signature_policy or "/etc/containers/policy.json", named=bool(image.signature_policy))
    yield from _credentials(image.global_auth_file)
    if not patient.offline:
        places = [place for registry in configured.by_prefix.values() for place in _places(registry)]
        yield from _reach(dict.fromkeys([*(configured.search or ()), *places]))


def _policy(path: str, *, named: bool) -> Iterator[Finding]:
    from crio.image.trust.policy import parse

    try:
        with open(path, "rb") as file:
            parse(file.read(1 << 20), path)
    except FileNotFoundError:
        if named:
            yield error("registries", f"the trust policy {path} does not exist", "write it, or clear signature_policy")
        else:
            yield warning("registries", f"there is no {path}: every image is accepted", "write one if that is too much")
    except OSError as problem:
        yield error("registries", f"the trust policy {path} cannot be read: {problem.strerror}")
    except CrioError as problem:
        yield error("registries", problem.message, "correct it: no image is accepted until then")


def _credentials(path: str) -> Iterator[Finding]:
    if not path:
        return
    try:
        mode = os.stat(path).st_mode
    except OSError as problem:
        yield error("registries", f"global_auth_file {path} cannot be read: {problem.strerror}", "write or clear it")
        return
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        yield warning("registries", f"{path} holds credentials, and others than root can read it", f"chmod 600 {path}")


def _places(registry: object) -> Iterator[str]:
    if getattr(registry, "blocked", False):
        return
    yield getattr(registry, "location", "") or getattr(registry, "prefix", "")
    for mirror in getattr(registry, "mirror", ()):
        yield mirror.location


def _reach(places: dict[str, None]) -> Iterator[Finding]:
    hosts = {_host(place): place for place in places if place and "*" not in place}
    if not hosts:
        yield ok("registries", "no registries are named in registries.conf")
        return
    chosen = list(hosts)[:_MAX_HOSTS]
    with ThreadPoolExecutor(len(chosen)) as pool:
        for (host, port), problem in zip(chosen, pool.map(_connect, chosen), strict=True):
            if problem:
                text = f"{host}:{port} cannot be reached: {problem}"
                yield warning(
                    "registries", text, "check DNS, routes, proxies and firewalls, or remove it from registries.conf"
                )
            else:
                yield ok("registries", f"{host}:{port} answers")


def _host(place: str) -> tuple[str, int]:
    parts = urlsplit(f"//{place.partition('/')[0]}")
    with contextlib.suppress(ValueError):
        return parts.hostname or place, parts.port or 443
    return place, 443


def _connect(address: tuple[str, int]) -> str:
    try:
        socket.create_connection(address, _SECONDS).close()
    except OSError as problem:
        return problem.strerror or str(problem)
    return ""
