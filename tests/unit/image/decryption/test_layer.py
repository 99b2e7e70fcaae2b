"""Layers that skopeo encrypts, opened with the right key and with no other."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from crio.base.errors import PermissionDenied
from crio.image.decryption import keys
from crio.image.decryption.keys import NodeKey
from crio.image.decryption.layer import unlock
from crio.image.errors import BadContent, BadImage
from crio.spec.oci_image import Descriptor, Manifest
from images import layout
from trust_bed import private_pem, public_pem, run

KEYS: dict[str, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey] = {
    "rsa": rsa.generate_private_key(65537, 2048),
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p521": ec.generate_private_key(ec.SECP521R1()),
}
PREFIX = "org.opencontainers.image.enc."


def node(*names: str) -> list[NodeKey]:
    return [NodeKey(name, KEYS[name]) for name in names]


@pytest.fixture(scope="module")
def recipients(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """skopeo's arguments for each way to encrypt."""
    root = tmp_path_factory.mktemp("recipients")
    found = {}
    for name, key in KEYS.items():
        (root / f"{name}.pub").write_bytes(public_pem(key))
        found[f"jwe-{name}"] = f"jwe:{root}/{name}.pub"
    (root / "rsa.pem").write_bytes(private_pem(KEYS["rsa"]))
    run("openssl", "req", "-new", "-x509", "-key", f"{root}/rsa.pem", "-subj", "/CN=x", "-out", f"{root}/rsa.crt")
    return {**found, "pkcs7-rsa": f"pkcs7:{root}/rsa.crt"}


class Encrypted:
    """The single layer of an image that skopeo has encrypted for these recipients."""

    def __init__(self, root: Path, recipients: dict[str, str], *names: str) -> None:
        plain = layout(str(root / "plain"))
        options = [option for name in names for option in ("--encryption-key", recipients[name])]
        source, target = f"oci:{plain}:localhost/test:latest", f"oci:{root}/encrypted:x"
        run("skopeo", "--insecure-policy", "copy", "-q", *options, source, target)
        blobs = root / "encrypted" / "blobs"
        (entry,) = json.loads((root / "encrypted/index.json").read_text())["manifests"]
        manifest = msgspec.json.decode((blobs / entry["digest"].replace(":", "/")).read_bytes(), type=Manifest)
        (self.layer,) = manifest.layers
        self.data = (blobs / self.layer.digest.replace(":", "/")).read_bytes()
        (entry,) = json.loads(Path(plain, "index.json").read_text())["manifests"]
        path = Path(plain, "blobs", entry["digest"].replace(":", "/"))
        original = msgspec.json.decode(path.read_bytes(), type=Manifest)
        self.digest = original.layers[0].digest


@pytest.mark.parametrize("name", ["jwe-rsa", "jwe-p256", "jwe-p521", "pkcs7-rsa"])
def test_each_way(tmp_path: Path, recipients: dict[str, str], name: str) -> None:
    made = Encrypted(tmp_path, recipients, name)
    own = name.partition("-")[2]
    key = unlock(made.layer, node(*KEYS), "x")
    plain = b"".join(key.decrypted(iter([made.data[:10], made.data[10:]]), "x"))
    assert f"sha256:{hashlib.sha256(plain).hexdigest()}" == made.digest
    others = node(*(other for other in KEYS if other != own))
    with pytest.raises(PermissionDenied, match=r"none of the 2 private keys in decryption_keys_path"):
        unlock(made.layer, others, "x")
    with pytest.raises(PermissionDenied, match="none of the 0 private keys"):
        unlock(made.layer, [], "x")
    broken = bytes([made.data[0] ^ 1]) + made.data[1:]
    for data in (broken, made.data[:-1], made.data + b"x"):
        with pytest.raises(BadContent, match="changed after it was encrypted"):
            list(key.decrypted(iter([data]), "the layer"))


def test_several_recipients(tmp_path: Path, recipients: dict[str, str]) -> None:
    made = Encrypted(tmp_path, recipients, "jwe-rsa", "jwe-p256", "pkcs7-rsa")
    assert len({unlock(made.layer, node(name), "x") for name in ("rsa", "p256")}) == 1
    with pytest.raises(PermissionDenied):
        unlock(made.layer, node("p521"), "x")


def changed(layer: Descriptor, **annotations: str | None) -> Descriptor:
    notes = dict(layer.annotations or {})
    for name, value in annotations.items():
        notes.pop(PREFIX + name.replace("__", "."), None)
        if value is not None:
            notes[PREFIX + name.replace("__", ".")] = value
    return msgspec.structs.replace(layer, annotations=notes)


def text(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def test_what_is_malformed(tmp_path: Path, recipients: dict[str, str]) -> None:
    layer = Encrypted(tmp_path, recipients, "jwe-rsa").layer
    options = json.loads(base64.b64decode((layer.annotations or {})[f"{PREFIX}pubopts"]))
    message = json.loads(base64.b64decode((layer.annotations or {})[f"{PREFIX}keys.jwe"]))
    for broken in (
        changed(layer, pubopts=None),
        changed(layer, pubopts="!"),
        changed(layer, pubopts=text({**options, "cipher": "ROT13"})),
        changed(layer, pubopts=text({**options, "hmac": "YQ=="})),
        changed(layer, pubopts=text({**options, "cipheroptions": {"nonce": "YQ=="}})),
        changed(layer, keys__jwe="!"),
        changed(layer, keys__jwe=text([])),
        changed(layer, keys__jwe=text({**message, "protected": "!"})),
        changed(layer, keys__jwe=text({**message, "recipients": [{}] * 200})),
        changed(layer, keys__jwe="A" * (2 << 20)),
        changed(layer, keys__jwe=None, keys__pkcs7=text("no envelope")),
    ):
        with pytest.raises(BadImage):
            unlock(broken, node("rsa"), "x")
    for no_key in (
        changed(layer, keys__jwe=text({**message, "tag": "AAAAAAAAAAAAAAAAAAAAAA"})),
        changed(layer, keys__jwe=text({**message, "recipients": [{"header": {"alg": "none"}}]})),
        changed(layer, keys__jwe=None),
    ):
        with pytest.raises(PermissionDenied, match="none of the 1 private keys"):
            unlock(no_key, node("rsa"), "x")
    with pytest.raises(PermissionDenied, match=r"wrapped by pgp, provider.x; this node can unwrap jwe and pkcs7"):
        unlock(changed(layer, **{"keys__jwe": None, "keys__pgp": "YQ==", "keys__provider.x": "YQ=="}), node("rsa"), "x")


def test_the_keys_of_a_directory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pem = private_pem(KEYS["rsa"])
    (tmp_path / "a.pem").write_bytes(pem)
    (tmp_path / "deeper").mkdir()
    der_form = KEYS["p256"].private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    (tmp_path / "deeper" / "b.pem").write_bytes(
        KEYS["p256"].private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    (tmp_path / "c.der").write_bytes(KEYS["p521"].private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "d.pub").write_bytes(public_pem(KEYS["rsa"]))
    (tmp_path / "e.txt").write_bytes(b"\xff no key")
    (tmp_path / "f.pem").write_bytes(
        KEYS["rsa"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    (tmp_path / "g.der").write_bytes(der_form)
    (tmp_path / "h.pem").symlink_to("a.pem")
    with caplog.at_level(logging.WARNING):
        found = keys.load(str(tmp_path))
    assert [Path(key.path).name for key in found] == ["a.pem", "c.der", "b.pem"]
    assert caplog.text.count("protected by a password") == 2
    assert keys.load(str(tmp_path / "absent")) == []


def number(value: int, size: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes(size, "big")).decode().rstrip("=")


def test_json_web_keys() -> None:
    key = KEYS["p256"]
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    numbers = key.private_numbers()
    x, y = numbers.public_numbers.x, numbers.public_numbers.y
    jwk = {"kty": "EC", "crv": "P-256", "x": number(x, 32), "y": number(y, 32), "d": number(numbers.private_value, 32)}
    parsed = keys.parse(json.dumps(jwk).encode())
    assert isinstance(parsed, ec.EllipticCurvePrivateKey)
    assert parsed.private_numbers() == numbers
    rsa_key = KEYS["rsa"]
    assert isinstance(rsa_key, rsa.RSAPrivateKey)
    of_rsa = rsa_key.private_numbers()
    public = of_rsa.public_numbers
    jwk = {"kty": "RSA", "n": number(public.n, 256), "e": number(public.e, 3), "d": number(of_rsa.d, 256)}
    parsed = keys.parse(json.dumps(jwk).encode())
    assert isinstance(parsed, rsa.RSAPrivateKey)
    assert parsed.private_numbers().d == of_rsa.d
    for other in ({**jwk, "d": ""}, {"kty": "oct", "d": "aa"}, {**jwk, "n": "!"}, {}):
        assert keys.parse(json.dumps(other).encode()) is None
