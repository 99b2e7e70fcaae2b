from __future__ import annotations

from typing import Any

import pytest

from crio.base.errors import InvalidArgument
from crio.spec.cdi import DeviceName, convert, parse_name


def file(**fields: Any) -> dict[str, Any]:
    device = {"name": "gpu0", "containerEdits": {"env": ["A=b"]}}
    return {"cdiVersion": "0.6.0", "kind": "vendor.com/gpu", "devices": [device], **fields}


def edits(**fields: Any) -> dict[str, Any]:
    return file(containerEdits=fields)


def test_names() -> None:
    assert parse_name("vendor.com/gpu=0") == DeviceName("vendor.com/gpu", "0")
    assert parse_name("v/c=a:b-c.d_e").name == "a:b-c.d_e"


@pytest.mark.parametrize(
    "text", ["", "gpu", "/dev/x", "vendor/gpu", "v/c=", "1v/c=x", "v/c=x=y", "v/../c=x", "v/c=x\n"]
)
def test_bad_names(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_name(text)


def test_file() -> None:
    spec = convert(file(annotations={"a": "b"}))
    assert spec.devices[0].container_edits.env == ("A=b",)


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        file(cdiVersion="9.0.0"),
        file(kind="vendor"),
        file(devices=[]),
        file(unknown=1),
        file(devices=[{"name": "a", "containerEdits": {}}]),
        file(devices=[{"name": "a b", "containerEdits": {"env": ["A=b"]}}]),
        edits(env=["novalue"]),
        edits(deviceNodes=[{"path": "dev/x"}]),
        edits(deviceNodes=[{"path": "/dev/x", "type": "z"}]),
        edits(deviceNodes=[{"path": "/dev/x", "permissions": "x"}]),
        edits(mounts=[{"hostPath": "", "containerPath": "/x"}]),
        edits(hooks=[{"hookName": "never", "path": "/x"}]),
        edits(hooks=[{"hookName": "poststop", "path": "x"}]),
        edits(netDevices=[{"hostInterfaceName": "", "name": "x"}]),
        edits(intelRdt={"closID": "a/b"}),
    ],
)
def test_bad_files(value: object) -> None:
    with pytest.raises(InvalidArgument, match="CDI file"):
        convert(value)
