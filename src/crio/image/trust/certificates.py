"""Chains of X.509 certificates that sign code: what RFC 5280 asks for, at a time of the past if need be.

A certificate of Fulcio lives for ten minutes and is judged by the time at which a log saw the signature. Libraries that
verify chains do so for TLS servers and for now; so the path is built here, in small steps, from the library's own
verification of one signature by one certificate. Blocking; for the image worker.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from crio.image.trust.rejection import Rejection

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)

_MAX_DEPTH = 8
_MAX_CERTIFICATES = 32
_MAX_CHECKS = 200
"""Signatures that are checked for one chain: certificates of one name and key can be made to lead to each other."""
_KNOWN = frozenset(
    (
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    )
)
"""Extensions that are looked at; another one that is critical makes its certificate useless."""


def read_pem(data: bytes, what: str) -> list[x509.Certificate]:
    """The certificates in a PEM text, at least one. Raises Rejection."""
    try:
        found = x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise Rejection(f"{what} cannot be read: {error}") from None
    if len(found) > _MAX_CERTIFICATES:
        raise Rejection(f"{what} has more than {_MAX_CERTIFICATES} certificates")
    return found


def verify_chain(
    leaf: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    when: datetime.datetime,
) -> CertificatePublicKeyTypes:
    """The key of a certificate for code signing that one of the roots vouches for at that time. Raises Rejection."""
    try:
        _check(leaf, when, below=0)
        if not _reaches_root(leaf, intermediates, roots, when, [leaf], iter(range(_MAX_CHECKS))):
            raise Rejection("its certificate is not issued by an accepted authority")
        return leaf.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        # The library parses extensions when they are asked for.
        raise Rejection(f"a certificate of its chain cannot be read: {error}") from None


def emails(certificate: x509.Certificate) -> list[str]:
    """The mail addresses that a certificate is for. Raises Rejection."""
    return _names(certificate, x509.RFC822Name)


def is_for_host(certificate: x509.Certificate, host: str) -> bool:
    """Whether a certificate is for this host name or address (RFC 6125, no partial wildcards). Raises Rejection."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        wanted = host.rstrip(".").lower()
        return any(_host_matches(name.rstrip(".").lower(), wanted) for name in _names(certificate, x509.DNSName))
    return address in _addresses(certificate)


def _reaches_root(
    certificate: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    when: datetime.datetime,
    chain: list[x509.Certificate],
    checks: Iterator[int],
) -> bool:
    if certificate in roots:
        return True
    if len(chain) > _MAX_DEPTH:
        return False
    for issuer in (*roots, *intermediates):
        if issuer in chain or issuer.subject != certificate.issuer:
            continue
        if next(checks, None) is None:
            raise Rejection("the certificates with it lead to each other in too many ways")
        if not _issued(issuer, certificate):
            continue
        try:
            # Certificates between this one and the leaf; those that issued themselves do not count (RFC 5280, 4.2.1.9).
            between = sum(1 for one in chain[1:] if one.subject != one.issuer)
            _check(issuer, when, below=between, authority=True)
            _check_names(issuer, chain)
        except Rejection:
            continue
        if issuer in roots or _reaches_root(issuer, intermediates, roots, when, [*chain, issuer], checks):
            return True
    return False


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
        return True
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False


def _check(certificate: x509.Certificate, when: datetime.datetime, *, below: int, authority: bool = False) -> None:
    """What a certificate says of itself. `below`: authorities between it and the leaf."""
    if not certificate.not_valid_before_utc <= when <= certificate.not_valid_after_utc:
        raise Rejection(f"its certificate was not valid on {when:%Y-%m-%d %H:%M:%S} UTC")
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _KNOWN:
            raise Rejection(f"its certificate has the critical extension {extension.oid.dotted_string}")
    usage = _extension(certificate, x509.KeyUsage)
    if usage is not None and not (
        usage.key_cert_sign if authority else usage.digital_signature or usage.content_commitment
    ):
        raise Rejection("the key of a certificate in its chain is not for that use")
    extended = _extension(certificate, x509.ExtendedKeyUsage)
    if extended is not None and not {
        ExtendedKeyUsageOID.CODE_SIGNING,
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    } & set(extended):
        raise Rejection("a certificate of its chain is not for signing code")
    if authority:
        constraints = _extension(certificate, x509.BasicConstraints)
        if constraints is None or not constraints.ca:
            raise Rejection("a certificate of its chain is not an authority's")
        if constraints.path_length is not None and below > constraints.path_length:
            raise Rejection("its chain is longer than an authority of it allows")


def _check_names(issuer: x509.Certificate, chain: Iterable[x509.Certificate]) -> None:
    constraints = _extension(issuer, x509.NameConstraints)
    if constraints is None:
        return
    permitted = list(constraints.permitted_subtrees or ())
    excluded = list(constraints.excluded_subtrees or ())
    for certificate in chain:
        for name in _extension(certificate, x509.SubjectAlternativeName) or ():
            if any(_within(name, tree) for tree in excluded if type(tree) is type(name)):
                raise Rejection("its certificate has a name that an authority of its chain may not certify")
            allowed = [tree for tree in permitted if type(tree) is type(name)]
            if allowed and not any(_within(name, tree) for tree in allowed):
                raise Rejection("its certificate has a name that an authority of its chain may not certify")
    if any(not isinstance(tree, x509.DNSName | x509.RFC822Name | x509.IPAddress) for tree in (*permitted, *excluded)):
        raise Rejection("an authority of its chain is limited to a kind of names that cannot be checked here")


def _within(name: x509.GeneralName, tree: x509.GeneralName) -> bool:
    if isinstance(name, x509.IPAddress) and isinstance(tree, x509.IPAddress):
        return isinstance(tree.value, ipaddress.IPv4Network | ipaddress.IPv6Network) and name.value in tree.value
    own, limit = str(name.value).lower(), str(tree.value).lower()
    if isinstance(name, x509.RFC822Name):
        if "@" in limit:
            return own == limit
        own = own.rpartition("@")[2]
        return own.endswith(limit) if limit.startswith(".") else own == limit
    return not limit or own == limit.lstrip(".") or own.endswith("." + limit.lstrip("."))


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _names(certificate: x509.Certificate, kind: type[x509.DNSName] | type[x509.RFC822Name]) -> list[str]:
    try:
        names = _extension(certificate, x509.SubjectAlternativeName)
    except ValueError as error:
        raise Rejection(f"the names in its certificate cannot be read: {error}") from None
    return [name.value for name in names or () if isinstance(name, kind)]


def _addresses(certificate: x509.Certificate) -> list[object]:
    names = _extension(certificate, x509.SubjectAlternativeName)
    return [name.value for name in names or () if isinstance(name, x509.IPAddress)]


def _host_matches(pattern: str, host: str) -> bool:
    if pattern.startswith("*."):
        first, dot, rest = host.partition(".")
        return bool(first and dot) and rest == pattern[2:]
    return "*" not in pattern and bool(host) and pattern == host
