from __future__ import annotations

from typing import Any

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.container.specgen.env import DEFAULT_PATH, as_list, environment


def made(*, warnings: list[str] | None = None, **fields: Any) -> dict[str, str]:
    settings: dict[str, Any] = {
        "defaults": [],
        "image": [],
        "requested": [],
        "hostname": "h",
        "terminal": False,
        **fields,
    }
    return environment(warnings=[] if warnings is None else warnings, **settings)


def pair(name: str, value: bytes) -> pb.KeyValue:
    return pb.KeyValue(key=name, value=value)


def test_order_and_precedence() -> None:
    variables = made(
        defaults=["A=default", "B=default", "C=default"],
        image=["B=image", "C=image", "PATH=/img"],
        requested=[pair("C", b"request"), pair("D", b"x=y")],
        terminal=True,
    )
    assert as_list(variables) == [
        "PATH=/img",
        "TERM=xterm",
        "HOSTNAME=h",
        "A=default",
        "B=image",
        "C=request",
        "D=x=y",
    ]


def test_defaults() -> None:
    assert made() == {"PATH": DEFAULT_PATH, "HOSTNAME": "h"}
    assert made(image=["novalue", "=x"]) == {"PATH": DEFAULT_PATH, "HOSTNAME": "h", "novalue": ""}


@pytest.mark.parametrize("value", [b"/root\nevil:x:0:0::/:/bin/sh", b"a\rb"])
def test_line_break_in_home(value: bytes) -> None:
    """CVE-2022-4318, CVE-2026-15809."""
    with pytest.raises(InvalidArgument, match="HOME"):
        made(requested=[pair("HOME", value)])
    with pytest.raises(InvalidArgument, match="HOME"):
        made(image=["HOME=" + value.decode()])


def test_line_break_elsewhere_is_fine() -> None:
    assert made(requested=[pair("CERT", b"a\nb")])["CERT"] == "a\nb"


def test_nul_and_equals_sign() -> None:
    with pytest.raises(InvalidArgument, match="NUL"):
        made(requested=[pair("A", b"x\0y")])
    with pytest.raises(InvalidArgument, match="'='"):
        made(requested=[pair("A=B", b"x")])


def test_other_bytes_are_replaced_with_a_warning() -> None:
    warnings: list[str] = []
    assert made(requested=[pair("A", b"\xffx")], warnings=warnings)["A"] == "\ufffdx"
    assert len(warnings) == 1
