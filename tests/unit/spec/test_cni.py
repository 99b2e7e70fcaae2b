from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.base.errors import InvalidArgument
from crio.spec.cni import (
    VERSIONS,
    ErrorResult,
    Interface,
    IpConfig,
    Result,
    Route,
    check_plugin_type,
    encode_result,
    parse_network,
    parse_result,
)

ROOT = Path(__file__).parents[3]


def _list(**fields: object) -> bytes:
    return json.dumps({"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "bridge"}], **fields}).encode()


def test_the_default_network_that_is_shipped_can_be_read() -> None:
    network = parse_network((ROOT / "contrib/cni/10-crio-bridge.conflist").read_bytes(), "x")
    assert (network.name, network.version, [plugin.type for plugin in network.plugins]) == ("crio", "1.0.0", ["bridge"])
    ranges = network.plugins[0].raw["ipam"]["ranges"]
    assert [part[0]["subnet"] for part in ranges] == ["10.85.0.0/16", "1100:200::/24"]


def test_a_list_keeps_all_fields_and_names_capabilities() -> None:
    plugin = {"type": "portmap", "capabilities": {"portMappings": True, "ips": False}, "own": [1]}
    data = _list(plugins=[plugin], disableCheck=True, disableGC="true")
    network = parse_network(data, "")
    assert network.plugins[0].raw == plugin
    assert network.plugins[0].capabilities == {"portMappings"}
    assert (network.disable_check, network.disable_gc, network.raw) == (True, True, data)
    assert network.at_least("0.4.0")
    assert not network.at_least("1.1.0")


def test_a_single_plug_in_is_a_list_of_one() -> None:
    network = parse_network(b'{"type": "bridge", "name": "old", "bridge": "b"}', "")
    assert (network.name, network.version) == ("old", "0.1.0")
    again = parse_network(network.raw, "")
    assert again.plugins == network.plugins
    assert again.version == "0.1.0"


def test_the_file_name_stands_in_for_a_name() -> None:
    assert parse_network(b'{"type": "bridge"}', "10-a.conf").name == "10-a.conf"


@pytest.mark.parametrize(
    ("fields", "version"),
    [
        ({"cniVersion": ""}, "0.1.0"),
        ({"cniVersions": ["0.4.0", "1.1.0", "9.0.0"]}, "1.1.0"),
        ({"cniVersions": ["0.4.0"]}, "1.0.0"),
        ({"cniVersion": "9.0.0", "cniVersions": ["1.0.0"]}, "1.0.0"),
    ],
)
def test_the_newest_known_version_counts(fields: dict[str, object], version: str) -> None:
    assert parse_network(_list(**fields), "").version == version


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cannot parse it"),
        (b"[]", "cannot parse it"),
        (b'{"name": "\xff", "plugins": []}', "cannot parse it"),
        (b"[" * 5000, "cannot parse it"),
        (b"{}", "neither"),
        (_list(plugins=[]), "not empty"),
        (_list(plugins=["bridge"]), "list of objects"),
        (_list(plugins=[{}]), "has no type"),
        (_list(plugins=[{"type": "../../bin/sh"}]), "plain name"),
        (_list(plugins=[{"type": "/bin/sh"}]), "plain name"),
        (_list(plugins=[{"type": ".."}]), "plain name"),
        (_list(plugins=[{"type": "a\nb"}]), "plain name"),
        (_list(plugins=[{"type": "x", "capabilities": []}, {"type": "x", "capabilities": "all"}]), "must be an object"),
        (_list(name="../up"), "network name"),
        (_list(name=5), "network name"),
        (_list(cniVersion="2.0.0"), "cniVersion '2.0.0'"),
        (_list(cniVersion=1), "must be a string"),
        (_list(disableCheck="maybe"), "disableCheck"),
    ],
)
def test_what_is_wrong_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        parse_network(data, "")


@given(st.text(max_size=200))
def test_a_plug_in_type_never_has_a_path(name: str) -> None:
    try:
        check_plugin_type(name)
    except InvalidArgument:
        return
    assert "/" not in name
    assert name not in ("", ".", "..")


def _full(version: str) -> Result:
    return Result(
        version,
        [Interface("br"), Interface("eth0", "aa:bb:cc:dd:ee:ff", 1500, "/run/netns/x")],
        [IpConfig("10.0.0.2/24", 1, "10.0.0.1"), IpConfig("fd00::2/64", 1)],
        [Route("0.0.0.0/0", mtu=1400), Route("::/0", "fd00::1")],
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_a_result_survives_every_version(version: str) -> None:
    data = encode_result(_full(version), version)
    back = parse_result(data, "1.0.0")
    assert back.version == json.loads(data)["cniVersion"] == version
    assert [(ip.address, ip.gateway) for ip in back.ips] == [("10.0.0.2/24", "10.0.0.1"), ("fd00::2/64", None)]
    assert [(route.dst, route.gw) for route in back.routes] == [("0.0.0.0/0", None), ("::/0", "fd00::1")]
    if version == "1.1.0":
        assert back == _full(version)


def test_old_forms_have_their_own_fields() -> None:
    old = json.loads(encode_result(_full("0.2.0"), "0.2.0"))
    assert old["ip4"]["routes"] == [{"dst": "0.0.0.0/0"}]
    assert "interfaces" not in old
    middle = json.loads(encode_result(_full("0.3.1"), "0.3.1"))
    assert [ip["version"] for ip in middle["ips"]] == ["4", "6"]
    assert "mtu" not in json.dumps(middle)
    assert "version" not in json.loads(encode_result(_full("1.0.0"), "1.0.0"))["ips"][0]


def test_nulls_are_empty_lists() -> None:
    result = parse_result(b'{"cniVersion": "1.0.0", "ips": null, "routes": null, "interfaces": null, "dns": null}', "")
    assert (result.ips, result.routes, result.interfaces) == ([], [], [])


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"ips": [{}]}', b'{"cniVersion": "3.0.0"}', b'{"ips": "none"}', b'{"cniVersion": "\xff"}']
)
def test_a_wrong_result_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument):
        parse_result(data, "1.0.0")


def test_an_error_is_one_line() -> None:
    assert ErrorResult(7, "bad\nthing", "see there").sentence() == "bad thing; see there"
    assert ErrorResult(7).sentence() == "error code 7"
