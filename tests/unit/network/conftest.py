from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from crio.linux import nft
from crio.network import hostport, localnet
from crio.network.builtin import masquerade, portmap

_TABLES = [masquerade.TABLE, localnet.TABLE] + [
    nft.Table(family, name)
    for family in (nft.NFPROTO_IPV4, nft.NFPROTO_IPV6)
    for name in (portmap.TABLE, hostport.TABLE)
]
_FAMILIES = {nft.NFPROTO_INET: "inet", nft.NFPROTO_IPV4: "ip", nft.NFPROTO_IPV6: "ip6"}


@pytest.fixture(autouse=True, scope="package")
def _tables_that_were_not_there_go() -> Iterator[None]:
    before = _present()
    yield
    batch = nft.Batch()
    for table in _present():
        if table not in before:
            batch.delete_table(table)
    with nft.connect() as netlink:
        batch.commit(netlink)


def _present() -> list[nft.Table]:
    listing = subprocess.run(["nft", "list", "tables"], check=True, capture_output=True, text=True).stdout.splitlines()
    return [table for table in _TABLES if f"table {_FAMILIES[table.family]} {table.name}" in listing]
