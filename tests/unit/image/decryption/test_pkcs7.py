"""Envelopes of openssl, whose content has another cipher than ocicrypt's."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from crio.image.decryption import pkcs7
from trust_bed import ec_key, private_pem, run

KEY = rsa.generate_private_key(65537, 2048)
PLAIN = b'{"symkey": "a secret"}'


@pytest.mark.parametrize(
    "options", [["-aes128"], ["-aes256"], ["-aes256", "-keyopt", "rsa_padding_mode:oaep"], ["-des3"]]
)
def test_openssl(tmp_path: Path, options: list[str]) -> None:
    plain, private, certificate, out = (str(tmp_path / name) for name in ("plain", "key", "crt", "out"))
    Path(plain).write_bytes(PLAIN)
    Path(private).write_bytes(private_pem(KEY))
    run("openssl", "req", "-new", "-x509", "-key", private, "-subj", "/CN=x", "-out", certificate)
    cipher, *key_options = options
    run("openssl", "cms", "-encrypt", "-binary", "-in", plain, "-outform", "DER", "-out", out, cipher, "-recip",
        certificate, *key_options)  # fmt: skip
    data = Path(out).read_bytes()
    if cipher == "-des3":
        with pytest.raises(ValueError, match="is not known"):
            pkcs7.decrypt(data, [KEY])
        return
    assert pkcs7.decrypt(data, [ec_key(), KEY]) == PLAIN
    assert pkcs7.decrypt(data, [rsa.generate_private_key(65537, 2048)]) is None
    assert pkcs7.decrypt(data, []) is None
    with pytest.raises(ValueError, match="no PKCS #7 envelope"):
        pkcs7.decrypt(data[:-1], [KEY])


@given(st.binary(max_size=300))
def test_any_input(data: bytes) -> None:
    with pytest.raises(ValueError, match="no PKCS #7 envelope"):
        pkcs7.decrypt(data, [KEY])
