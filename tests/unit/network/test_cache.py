from __future__ import annotations

import base64
import json
from pathlib import Path

from crio.network.cache import ResultCache, cached


def test_the_file_is_the_one_that_libcni_keeps(tmp_path: Path) -> None:
    cache = ResultCache(str(tmp_path))
    result = b'{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}],"dns":{}}'
    cache.save(
        cached(
            container_id="c1",
            interface="eth0",
            network="net",
            netns="/run/netns/c1",
            config=b'{"name":"net"}',
            arguments=[("IgnoreUnknown", "1")],
            capabilities={"portMappings": []},
            result=result,
        )
    )
    path = tmp_path / "results" / "net-c1-eth0"
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_bytes()) == {
        "kind": "cniCacheV1",
        "containerId": "c1",
        "config": base64.b64encode(b'{"name":"net"}').decode(),
        "ifName": "eth0",
        "networkName": "net",
        "netns": "/run/netns/c1",
        "cniArgs": [["IgnoreUnknown", "1"]],
        "capabilityArgs": {"portMappings": []},
        "result": json.loads(result),
    }
    entry = cache.load("net", "c1", "eth0")
    assert entry is not None
    assert bytes(entry.result) == result
    assert entry.config_bytes() == b'{"name":"net"}'
    assert [found.container_id for found in cache.of_container("c1")] == ["c1"]
    assert cache.of_container("c") == []
    cache.remove("net", "c1", "eth0")
    cache.remove("net", "c1", "eth0")
    assert cache.entries() == []


def test_what_is_no_entry_is_passed_over(tmp_path: Path) -> None:
    directory = tmp_path / "results"
    directory.mkdir()
    (directory / "net-c1-eth0").write_text("{")
    (directory / "net-c2-eth0").write_text('{"kind": "other", "containerId": "c2", "ifName": "e", "networkName": "n"}')
    (directory / "net-c4-eth0").write_bytes(b'{"kind": "\xff"}')
    (directory / "net-c3-eth0").write_text('{"kind": "cniCacheV1", "containerId": "c3"}')
    cache = ResultCache(str(tmp_path))
    assert cache.load("net", "c1", "eth0") is None
    assert cache.entries() == []
    assert ResultCache(str(tmp_path / "none")).entries() == []
