"""Simple signing against GnuPG itself, and against what no honest signer makes."""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.base.errors import InvalidArgument
from crio.image.trust import openpgp
from crio.image.trust.openpgp_packets import MAX_CONTENT, uncompressed
from crio.image.trust.rejection import Rejection
from trust_bed import Gpg, run

DATA = b'{"critical": "something"}'


@pytest.fixture(scope="module")
def gpgs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gpg, Gpg]]:
    root = tmp_path_factory.mktemp("gpg")
    made = (Gpg(root / "one"), Gpg(root / "two", "other@example.com", "rsa2048"))
    yield made
    for gpg in made:
        gpg.close()


def public(gpg: Gpg) -> bytes:
    return Path(gpg.public).read_bytes()


def test_content_comes_with_an_accepted_key_alone(gpgs: tuple[Gpg, Gpg]) -> None:
    one, two = gpgs
    keys = openpgp.read_keys([public(one)], "x")
    assert openpgp.signed_content(one.sign(DATA), keys) == DATA
    with pytest.raises(Rejection, match="no accepted OpenPGP key"):
        openpgp.signed_content(two.sign(DATA), keys)
    both = openpgp.read_keys([public(one), public(two)], "x")
    assert openpgp.signed_content(two.sign(DATA), both) == DATA


def test_keyrings(gpgs: tuple[Gpg, Gpg]) -> None:
    one, two = gpgs
    for ring in (one.armored().encode(), public(one) + public(two), (one.armored() + "\n" + two.armored()).encode()):
        assert openpgp.signed_content(one.sign(DATA), openpgp.read_keys([ring], "x")) == DATA
    assert len(openpgp.read_keys([(one.armored() + two.armored()).encode()], "x")) == 2
    for bad in (b"", b"no key", b"\x99\x01"):
        with pytest.raises(InvalidArgument, match="keyring 2 of the policy"):
            openpgp.read_keys([public(one), bad], "the policy")


@pytest.mark.parametrize("options", [["--compress-algo", name] for name in ("none", "zip", "zlib", "bzip2")])
def test_compressions(gpgs: tuple[Gpg, Gpg], options: list[str]) -> None:
    keys = openpgp.read_keys([public(gpgs[0])], "x")
    assert openpgp.signed_content(gpgs[0].sign(DATA * 2000, *options), keys) == DATA * 2000


def test_weak_and_foreign_messages(gpgs: tuple[Gpg, Gpg]) -> None:
    one, two = gpgs
    keys = openpgp.read_keys([public(one), public(two)], "x")
    good = one.sign(DATA, "--compress-algo", "none")
    for message in (
        two.sign(DATA, "--digest-algo", "SHA1"),
        good[:-3],
        good.replace(b"something", b"somethinG"),
        b"\xa3\x00junk",
        b"plain text",
        b"",
    ):
        with pytest.raises(Rejection):
            openpgp.signed_content(message, keys)


def test_a_revoked_key_counts_for_nothing(tmp_path: Path) -> None:
    gpg = Gpg(tmp_path / "gpg")
    try:
        signed = gpg.sign(DATA)
        assert openpgp.signed_content(signed, openpgp.read_keys([public(gpg)], "x")) == DATA
        revocation = (tmp_path / "gpg/openpgp-revocs.d" / f"{gpg.fingerprint}.rev").read_text()
        (tmp_path / "revocation").write_text(revocation.replace(":-----BEGIN", "-----BEGIN"))
        run("gpg", "--homedir", gpg.home, "--batch", "--quiet", "--import", str(tmp_path / "revocation"))
        revoked = openpgp.read_keys([gpg.armored().encode()], "x")
        with pytest.raises(Rejection):
            openpgp.signed_content(signed, revoked)
    finally:
        gpg.close()


def _compressed(data: bytes, algorithm: int = 2) -> bytes:
    packed = {1: zlib.compress(data, wbits=-15), 2: zlib.compress(data), 3: bz2.compress(data)}[algorithm]
    return b"\xa3" + bytes([algorithm]) + packed


@pytest.mark.parametrize("algorithm", [1, 2, 3])
def test_a_bomb_is_not_unpacked(algorithm: int) -> None:
    bomb = _compressed(b"\xcb\xff" + (16 << 20).to_bytes(4, "big") + bytes(16 << 20), algorithm)
    assert len(bomb) < 100_000
    with pytest.raises(Rejection, match=f"longer than {MAX_CONTENT}"):
        uncompressed(bomb)


def test_lengths_in_all_forms() -> None:
    literal = b"b\0\0\0\0\0" + bytes(300)
    for packet in (
        b"\xad" + len(literal).to_bytes(2, "big") + literal,
        b"\xcb" + bytes([192 + ((306 - 192) >> 8), (306 - 192) & 0xFF]) + literal,
        b"\xcb\xff" + len(literal).to_bytes(4, "big") + literal,
        b"\xcb\xe8" + literal[:256] + bytes([50]) + literal[256:],
    ):
        assert uncompressed(packet) == packet
        assert uncompressed(_compressed(packet)) == packet
    with pytest.raises(Rejection, match="several times over"):
        uncompressed(_compressed(_compressed(_compressed(b"\xcb\x00"))))
    with pytest.raises(Rejection, match="beside other packets"):
        uncompressed(b"\xcb\x00" + b"\xc8\x03\x02ab")
    with pytest.raises(Rejection, match="more than 64 packets"):
        uncompressed(b"\xcb\x00" * 100)
    for cut in (b"\xcb", b"\xcb\x05ab", b"\xcb\xff\0\0", b"\xad\x01", b"\xcb\xe8ab"):
        with pytest.raises(Rejection, match="cut off"):
            uncompressed(cut)
    with pytest.raises(Rejection, match="compression is not known"):
        uncompressed(b"\xa3\x09ab")
    with pytest.raises(Rejection, match="damaged"):
        uncompressed(b"\xa3\x02ab")


@given(st.binary(max_size=300))
def test_any_packets(data: bytes) -> None:
    for message in (data, b"\xa3\x00" + data, _compressed(data)):
        try:
            assert len(uncompressed(message)) <= MAX_CONTENT
        except Rejection:
            continue
