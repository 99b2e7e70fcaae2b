from __future__ import annotations

import base64
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.base.errors import CrioError
from crio.base.ids import Digest
from crio.image import schema1
from crio.image.documents import parse_document
from crio.image.errors import BadImage
from crio.spec.docker_image import MANIFEST_V1, Schema1Manifest

SHA = "sha256:" + "a" * 64


def manifest(*entries: object) -> Schema1Manifest:
    document = {
        "schemaVersion": 1,
        "fsLayers": [{"blobSum": f"sha256:{number:064x}"} for number in range(len(entries))],
        "history": [{"v1Compatibility": json.dumps(entry)} for entry in entries],
    }
    parsed = parse_document(json.dumps(document).encode(), MANIFEST_V1, "x")
    assert isinstance(parsed, Schema1Manifest)
    return parsed


def sign(text: bytes) -> bytes:
    cut = len(text.rstrip(b"\n}"))
    protected = {"formatLength": cut, "formatTail": base64.urlsafe_b64encode(text[cut:]).decode().rstrip("=")}
    encoded = base64.urlsafe_b64encode(json.dumps(protected).encode()).decode().rstrip("=")
    signatures = json.dumps([{"protected": encoded, "signature": "x"}]).encode()
    return text[:cut] + b',\n "signatures": ' + signatures + b"\n}"


def test_payload() -> None:
    text = b'{\n "schemaVersion": 1,\n "name": "a"\n}'
    assert schema1.payload(text) == text
    assert schema1.payload(sign(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b'{"signatures":[{"protected":"!"}]}',
        b'{"signatures":[{"protected":""}]}',
        sign(b'{"a":1}').replace(b'"protected": "', b'"protected": "e'),
    ],
)
def test_bad_signatures(text: bytes) -> None:
    with pytest.raises(BadImage):
        schema1.payload(text)


def test_layers_from_the_base_up_without_empty_ones() -> None:
    found = schema1.layers(manifest({}, {"throwaway": True}, {}))
    assert [int(layer.digest[-1]) for layer in found] == [2, 0]


def test_configuration_as_go_would_write_it() -> None:
    made = schema1.make_config(
        manifest(
            {"z": "<&>", "id": "x", "config": {"b": 1, "a": 1.50}, "created": "2020-01-01T00:00:00.100Z"},
            {"throwaway": True, "created": "2020-01-01T00:00:00+00:00", "container_config": {"Cmd": ["a", "b>c"]}},
        ),
        (Digest(SHA),),
    )
    assert made == (
        b'{"config":{"b":1,"a":1.5},"created":"2020-01-01T00:00:00.100Z","history":['
        b'{"created":"2020-01-01T00:00:00Z","created_by":"a b\\u003ec","empty_layer":true},'
        b'{"created":"2020-01-01T00:00:00.1Z"}],'
        b'"rootfs":{"type":"layers","diff_ids":["' + SHA.encode() + b'"]},"z":"\\u003c\\u0026\\u003e"}'
    )


_WITH_LITTLE_MEMORY = """
import json, resource, sys
from crio.image import schema1
from crio.spec.docker_image import FsLayer, Schema1Manifest, V1History
text = json.dumps({"comment": "a" * 3_900_000})
manifest = Schema1Manifest(
    schema_version=1, fs_layers=(FsLayer("sha256:" + "a" * 64),), history=(V1History(v1_compatibility=text),)
)
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (200 << 20),) * 2)
print(len(schema1.make_config(manifest, ())))
"""


def test_a_long_text_takes_little_memory() -> None:
    done = subprocess.run([sys.executable, "-c", _WITH_LITTLE_MEMORY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert int(done.stdout) > 7_800_000


@given(st.text(max_size=80))
def test_any_history(text: str) -> None:
    found = Schema1Manifest(
        schema_version=1,
        fs_layers=manifest({}).fs_layers,
        history=(type(manifest({}).history[0])(text),),
    )
    try:
        schema1.make_config(found, ())
    except CrioError:
        pass


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    try:
        schema1.payload(data)
    except CrioError:
        pass
