from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.base.errors import CrioError
from crio.image.documents import digest_of, parse_config, parse_document, verify
from crio.image.errors import BadContent, BadImage
from crio.spec import docker_image, oci_image
from crio.spec.docker_image import Schema1Manifest
from crio.spec.oci_image import Index, Manifest

SHA = "sha256:" + "a" * 64
DESCRIPTOR = {"mediaType": oci_image.LAYER_GZIP, "digest": SHA, "size": 7}
MANIFEST: dict[str, Any] = {"schemaVersion": 2, "config": DESCRIPTOR, "layers": [DESCRIPTOR]}
INDEX: dict[str, Any] = {"schemaVersion": 2, "manifests": [DESCRIPTOR]}
SCHEMA1: dict[str, Any] = {
    "schemaVersion": 1,
    "name": "a",
    "tag": "b",
    "architecture": "amd64",
    "fsLayers": [{"blobSum": SHA}],
    "history": [{"v1Compatibility": "{}"}],
}


def parse(document: object, served_as: str = "") -> object:
    return parse_document(json.dumps(document).encode(), served_as, "x")


@pytest.mark.parametrize(
    ("document", "served_as", "kind"),
    [
        (MANIFEST, oci_image.MANIFEST, Manifest),
        (MANIFEST, docker_image.MANIFEST, Manifest),
        (MANIFEST, "application/json; charset=utf-8", Manifest),
        (MANIFEST, "", Manifest),
        (INDEX, oci_image.INDEX + "; charset=utf-8", Index),
        (INDEX, docker_image.MANIFEST_LIST, Index),
        (INDEX, "", Index),
        (SCHEMA1, docker_image.MANIFEST_V1_SIGNED, Schema1Manifest),
        (SCHEMA1, "text/plain", Schema1Manifest),
        ({**MANIFEST, "annotations": None, "subject": None, "unknown": {"x": [1]}}, "", Manifest),
    ],
)
def test_kinds(document: object, served_as: str, kind: type) -> None:
    assert type(parse(document, served_as)) is kind


@pytest.mark.parametrize(
    ("document", "served_as"),
    [
        ({**MANIFEST, "manifests": []}, ""),
        ({**INDEX, "layers": []}, oci_image.INDEX),
        ({**MANIFEST, "fsLayers": []}, ""),
        (MANIFEST, oci_image.INDEX),
        (INDEX, oci_image.MANIFEST),
        ({**INDEX, "mediaType": oci_image.MANIFEST}, ""),
        ({**MANIFEST, "mediaType": oci_image.INDEX}, oci_image.MANIFEST),
        ({**MANIFEST, "schemaVersion": 3}, ""),
        ({**MANIFEST, "schemaVersion": 1}, ""),
        ({"schemaVersion": 2}, ""),
        ({**MANIFEST, "layers": [DESCRIPTOR] * 501}, ""),
        ({**MANIFEST, "layers": [{**DESCRIPTOR, "digest": "sha256:../../x"}]}, ""),
        ({**MANIFEST, "layers": [{**DESCRIPTOR, "size": -1}]}, ""),
        ({**MANIFEST, "config": {**DESCRIPTOR, "digest": "md5:1"}}, ""),
        ({**INDEX, "manifests": [{**DESCRIPTOR, "digest": "x"}]}, ""),
        ({**SCHEMA1, "history": []}, ""),
        ({**SCHEMA1, "fsLayers": [{"blobSum": "x"}]}, ""),
        ([], ""),
        ("x", ""),
        ({**MANIFEST, "layers": "x"}, ""),
    ],
)
def test_refused(document: object, served_as: str) -> None:
    with pytest.raises(BadImage, match="x"):
        parse(document, served_as)


def test_too_long() -> None:
    with pytest.raises(BadImage, match="longer"):
        parse_document(b" " * (4 << 20) + b"{}", "", "x")


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(BadImage):
        parse_document(b'{"schemaVersion":2,"manifests":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "", "x")


def test_digest() -> None:
    verify(b"abc", digest_of(b"abc"), "x")
    with pytest.raises(BadContent, match="its digest is"):
        verify(b"abd", digest_of(b"abc"), "x")


def test_configuration() -> None:
    text = b"""{"architecture":"amd64","os":"linux","config":{"User":"1:2","Env":null,"Cmd":"a b","Entrypoint":["/x"],
    "Volumes":{"/v":{}},"Labels":null,"WorkingDir":"/w","Healthcheck":{}},"rootfs":{"type":"layers","diff_ids":null},
    "history":null,"container_config":{}}"""
    config = parse_config(text, "x")
    assert (config.user, config.env, config.entrypoint, config.volumes) == ("1:2", (), ("/x",), ("/v",))
    assert config.cmd == ("/bin/sh", "-c", "a b")
    assert config.diff_ids == ()
    assert config.labels == {}
    for bad in (b"[]", b"{", b'{"rootfs":{"diff_ids":["x"]}}', b'{"config":{"Env":"x"}}'):
        with pytest.raises(BadImage):
            parse_config(bad, "x")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from([SHA, "sha256:"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*MANIFEST, *INDEX, *SCHEMA1, *DESCRIPTOR, "mediaType", "platform", "blobSum", "x"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=30,
)


@given(_json, st.sampled_from(["", oci_image.MANIFEST, oci_image.INDEX, docker_image.MANIFEST_V1]))
def test_any_json_is_read_or_refused(document: object, served_as: str) -> None:
    try:
        parse(document, served_as)
    except CrioError:
        pass


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (lambda: parse_document(data, "", "x"), lambda: parse_config(data, "x")):
        try:
            read()
        except CrioError:
            pass
