"""What a daemon has loaded when it is ready: each module costs a part of a millisecond of every start, and memory.

A module that is needed at each start may be added to the number below. One that most nodes never need, or need seldom,
is imported where it is used, or listed in `crio.cli.late_modules` if it belongs to somebody else.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

MOST = 552
"""Modules of all origins; 540 with Python 3.11, a few of which differ from one version of Python to the other."""

UNWANTED = """
    ssl _ssl inspect dataclasses typing_extensions json shutil lzma bz2 tempfile random secrets hashlib _hashlib hmac
    ipaddress pathlib http urllib.parse glob shlex email argparse pickle copy yaml cryptography aiohttp isal
    google.protobuf.text_format google.protobuf.internal.python_message google.protobuf.json_format
    msgspec.yaml msgspec.toml
    crio.streaming.upgrade crio.wire.spdy crio.wire.websocket crio.wire.dbus crio.wire.tar crio.cli.crioctl
    crio.image.copy crio.image.assemble crio.image.worker.program crio.image.registry crio.image.decryption
    crio.storage.unpack crio.storage.check crio.network.builtin.bridge
""".split()

_PROGRAM = """
import sys
from crio.base.late import is_waiting
from crio.cli.late_modules import load_rarely_used_late
load_rarely_used_late()
import crio.cli.crio_commands.daemon, crio.daemon.main, crio.daemon.wiring
print(*(name for name, module in sys.modules.items() if not is_waiting(module)))
"""


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def test_what_is_seldom_needed_is_not_loaded(loaded: set[str]) -> None:
    assert "crio.daemon.wiring" in loaded
    assert loaded.isdisjoint(UNWANTED), loaded.intersection(UNWANTED)


def test_number(loaded: set[str]) -> None:
    assert len(loaded) <= MOST
