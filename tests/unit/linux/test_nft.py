from __future__ import annotations

import errno
import os
import struct
import subprocess
from collections.abc import Iterator

import pytest

from crio.linux import nft
from crio.linux.netlink import NetlinkError

pytestmark = pytest.mark.root

TABLE = nft.Table(nft.NFPROTO_INET, f"crio_test_nft_{os.getpid()}")


@pytest.fixture(autouse=True)
def _no_table() -> Iterator[None]:
    yield
    batch = nft.Batch()
    batch.add_table(TABLE)
    batch.delete_table(TABLE)
    _commit(batch)


def _commit(batch: nft.Batch) -> None:
    with nft.connect() as netlink:
        batch.commit(netlink)


def _listing() -> str:
    argv = ["nft", "list", "table", "inet", TABLE.name]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def test_rules_read_as_they_were_meant() -> None:
    batch = nft.Batch()
    batch.add_table(TABLE, "a table")
    batch.add_chain(TABLE, "inner", "a chain")
    batch.add_base_chain(TABLE, "pre", "filter", nft.HOOK_PREROUTING, nft.PRIORITY_RAW)
    four = [nft.meta(nft.META_NFPROTO), nft.compare(bytes([nft.NFPROTO_IPV4]))]
    tcp = [nft.meta(nft.META_L4PROTO), nft.compare(b"\x06")]
    batch.add_rule(TABLE, "pre", nft.load_destination_type(), nft.compare(nft.ADDRESS_LOCAL), nft.jump("inner"))
    batch.add_rule(TABLE, "pre", *tcp, nft.payload(2, 2, 2), nft.compare(struct.pack(">H", 80)), nft.goto("inner"))
    not_ten_one = [nft.payload(1, 12, 4), nft.mask(b"\xff\xff\0\0"), nft.compare(b"\x0a\x01\0\0", equal=False)]
    batch.add_rule(TABLE, "inner", *four, *not_ten_one, nft.return_(), comment="words")
    dnat_status = struct.pack("=I", nft.CT_STATUS_DNAT)
    batch.add_rule(
        TABLE,
        "inner",
        nft.load_conntrack_status(),
        nft.mask(dnat_status),
        nft.compare(bytes(4), equal=False),
        nft.accept(),
    )
    batch.add_rule(TABLE, "inner", nft.drop())
    _commit(batch)
    listing = _listing()
    for words in (
        'comment "a table"',
        'comment "a chain"',
        "type filter hook prerouting priority raw; policy accept;",
        "fib daddr type local jump inner",
        "tcp dport 80 goto inner",
        'ip saddr != 10.1.0.0/16 return comment "words"',
        "ct status dnat accept",
    ):
        assert words in listing
    assert "ct status dnat accept\n\t\tdrop\n" in listing


def test_rules_are_found_by_comment_and_deleted() -> None:
    batch = nft.Batch()
    batch.add_table(TABLE)
    batch.add_chain(TABLE, "c")
    for comment in ("one", "two", "", "x" * 200):
        batch.add_rule(TABLE, "c", nft.accept(), comment=comment)
    _commit(batch)
    with nft.connect() as netlink:
        found = nft.rules(netlink, TABLE, "c")
        assert [rule.comment for rule in found] == ["one", "two", "", "x" * (nft.MAX_COMMENT - 1)]
        assert [rule.comment for rule in nft.rules(netlink, TABLE, "c", containing=b"tw")] == ["two"]
        batch = nft.Batch()
        batch.delete_rule(TABLE, "c", found[0].handle)
        batch.commit(netlink)
        assert len(nft.rules(netlink, TABLE, "c")) == 3
        batch = nft.Batch()
        batch.flush_chain(TABLE, "c")
        batch.commit(netlink)
        assert nft.rules(netlink, TABLE, "c") == []


def test_sets_and_maps() -> None:
    batch = nft.Batch()
    batch.add_table(TABLE)
    key = nft.concatenated(nft.TYPE_INET_PROTO, nft.TYPE_INET_SERVICE)
    value = nft.concatenated(nft.TYPE_IPV4_ADDR, nft.TYPE_INET_SERVICE)
    batch.add_set(TABLE, "m", key, 8, data_type=value, data_length=8)
    batch.add_set(TABLE, "s", nft.TYPE_IPV6_ADDR, 16)
    element = nft.Element(nft.padded(b"\x06", b"\0\x50"), nft.padded(b"\x0a\0\0\x01", b"\x1f\x90"), "who")
    batch.add_elements(TABLE, "m", [element])
    batch.add_elements(TABLE, "s", [nft.Element(bytes(15) + b"\x01", b"", "")])
    _commit(batch)
    assert 'tcp . 80 comment "who" : 10.0.0.1 . 8080' in _listing()
    assert "elements = { ::1 }" in _listing()
    with nft.connect() as netlink:
        assert nft.elements(netlink, TABLE, "m") == [element]
        batch = nft.Batch()
        batch.delete_elements(TABLE, "m", [element])
        batch.commit(netlink)
        assert nft.elements(netlink, TABLE, "m") == []


def test_all_or_nothing_and_the_error_names_what_was_refused() -> None:
    batch = nft.Batch()
    batch.add_table(TABLE)
    batch.add_chain(TABLE, "c")
    batch.add_rule(TABLE, "nowhere", nft.accept())
    with pytest.raises(NetlinkError, match="rule of nowhere") as caught:
        _commit(batch)
    assert caught.value.errno == errno.ENOENT
    assert (
        TABLE.name not in subprocess.run(["nft", "list", "tables"], check=True, capture_output=True, text=True).stdout
    )
    with nft.connect() as netlink:
        assert nft.rules(netlink, TABLE, "c") == []
        assert nft.elements(netlink, TABLE, "s") == []


def test_an_element_that_is_there_already_is_an_error() -> None:
    batch = nft.Batch()
    batch.add_table(TABLE)
    batch.add_set(TABLE, "s", nft.TYPE_INET_SERVICE, 2)
    _commit(batch)
    for expected in (None, errno.EEXIST):
        batch = nft.Batch()
        batch.add_elements(TABLE, "s", [nft.Element(b"\0\x50", b"", "")])
        if expected is None:
            _commit(batch)
            continue
        with pytest.raises(NetlinkError, match="element of s") as caught:
            _commit(batch)
        assert caught.value.errno == expected


def test_a_large_transaction() -> None:
    batch = nft.Batch()
    batch.add_table(TABLE)
    batch.add_chain(TABLE, "c")
    for index in range(3000):
        batch.add_rule(TABLE, "c", nft.accept(), comment=f"rule number {index}")
    _commit(batch)
    with nft.connect() as netlink:
        assert len(nft.rules(netlink, TABLE, "c")) == 3000


def test_an_empty_transaction_is_none() -> None:
    batch = nft.Batch()
    assert len(batch) == 0
    _commit(batch)
