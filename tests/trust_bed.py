"""Signers for tests: GnuPG, cosign's payloads, certificates of Fulcio's and other kinds, and Rekor's timestamps."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
COSIGN_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
ISSUER = "https://accounts.example.com"
EMAIL = "signer@example.com"


def run(*argv: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})})
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


class Gpg:
    """A GnuPG home with one key. `close` ends its agent."""

    def __init__(
        self, home: Path, email: str = "test@example.com", kind: str = "ed25519", expire: str = "never"
    ) -> None:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.home = str(home)
        self.email = email
        # gpg, which would start it, gives up after 5 s.
        run("gpg-agent", "--homedir", self.home, "--quiet", "--daemon")
        self._gpg("--quick-generate-key", f"Test <{email}>", kind, "sign", expire)
        listed = self._gpg("--with-colons", "--list-keys", email)
        self.fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))
        self.public = str(home / "public.gpg")
        self._gpg("--output", self.public, "--export", email)

    def armored(self) -> str:
        return self._gpg("--armor", "--export", self.email)

    def sign(self, data: bytes, *options: str) -> bytes:
        """An OpenPGP message that holds `data` and its signature."""
        done = subprocess.run(
            ["gpg", "--homedir", self.home, "--batch", "--quiet", *options, "--output", "-", "--sign"],
            input=data,
            capture_output=True,
            check=True,
        )
        return done.stdout

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", self.home, "--kill", "all"], check=False, capture_output=True)

    def _gpg(self, *argv: str) -> str:
        return run("gpg", "--homedir", self.home, "--batch", "--quiet", "--passphrase", "", *argv)


def simple_payload(digest: str, name: str, **critical: Any) -> bytes:
    """What simple signing signs."""
    value = {
        "critical": {
            "type": "atomic container signature",
            "image": {"docker-manifest-digest": digest},
            "identity": {"docker-reference": name},
            **critical,
        },
        "optional": {"creator": "a test", "timestamp": 1_700_000_000},
    }
    return json.dumps(value).encode()


def cosign_payload(digest: str, name: str) -> bytes:
    """What cosign signs."""
    value = {
        "critical": {
            "type": "cosign container image signature",
            "image": {"docker-manifest-digest": digest},
            "identity": {"docker-reference": name},
        },
        "optional": None,
    }
    return json.dumps(value, separators=(",", ":")).encode()


def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def public_pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def raw_signature(key: PrivateKey, data: bytes) -> bytes:
    """As cosign makes it for each kind of key."""
    match key:
        case ec.EllipticCurvePrivateKey():
            return key.sign(data, ec.ECDSA(hashes.SHA256()))
        case rsa.RSAPrivateKey():
            return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        case _:
            return key.sign(data)


def cosign_annotations(key: PrivateKey, payload: bytes, **more: str) -> dict[str, str]:
    """The annotations of a cosign signature."""
    signature = base64.b64encode(raw_signature(key, payload)).decode()
    names = {"bundle": "dev.sigstore.cosign/bundle", "certificate": "dev.sigstore.cosign/certificate",
             "chain": "dev.sigstore.cosign/chain"}  # fmt: skip
    return {"dev.cosignproject.cosign/signature": signature, **{names[name]: text for name, text in more.items()}}


@dataclass
class Authority:
    """A certificate authority with its key."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def authority(
    name: str,
    parent: Authority | None = None,
    *,
    path_length: int | None = None,
    extensions: Any = (),
    ca: bool = True,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> Authority:
    """A root, or an authority below `parent`."""
    key = key or ec_key()
    issuer = parent or Authority(key, None)  # type: ignore[arg-type]
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(parent.certificate.subject if parent else _name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=30))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return Authority(key, builder.sign(issuer.key, hashes.SHA256()))


def code_signing(
    issuer: Authority,
    key: PrivateKey,
    *,
    email: str = EMAIL,
    host: str = "",
    oidc_issuer: str = "",
    oidc_issuer_v2: str = "",
    age: datetime.timedelta = datetime.timedelta(0),
    life: datetime.timedelta = datetime.timedelta(minutes=10),
    usage: Any = ExtendedKeyUsageOID.CODE_SIGNING,
    extensions: Any = (),
) -> bytes:
    """PEM of a certificate for signing code that was made `age` ago; with an OIDC issuer as Fulcio makes them."""
    begin = datetime.datetime.now(datetime.UTC) - age - datetime.timedelta(seconds=5)
    names: list[x509.GeneralName] = [x509.RFC822Name(email)] if email else []
    names += [x509.DNSName(host)] if host else []
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + life)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    if oidc_issuer:
        oid = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, oidc_issuer.encode()), critical=False)
    if oidc_issuer_v2:
        oid = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
        text = oidc_issuer_v2.encode()
        value = b"\x0c" + bytes([len(text)]) + text
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def rekor_bundle(
    log_key: ec.EllipticCurvePrivateKey, key_or_certificate: bytes, signature: bytes, payload: bytes, when: float
) -> str:
    """Rekor's timestamp for a signature, as cosign attaches it."""
    body = {
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()}},
            "signature": {
                "content": base64.b64encode(signature).decode(),
                "publicKey": {"content": base64.b64encode(key_or_certificate).decode()},
            },
        },
    }
    entry = {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "integratedTime": int(when),
        "logIndex": 4711,
        "logID": "c0d23d6ad406973f9559f3ba2d1ca01f84147d8ffc5b8445c224f98b9591801d",
    }
    canonical = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
    timestamp = log_key.sign(canonical, ec.ECDSA(hashes.SHA256()))
    # Readers must not depend on the order in which it comes.
    shuffled = dict(reversed(list(entry.items())))
    return json.dumps({"Payload": shuffled, "SignedEntryTimestamp": base64.b64encode(timestamp).decode()})


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
