"""After packing, objects of one size lie side by side."""

from __future__ import annotations

import subprocess
import sys

import crio

_SOURCE = crio.__file__.removesuffix("/crio/__init__.py")

_CODE = """
import sys
sys.path.insert(0, sys.argv[1])
from crio.conmon.packing import take_free_slots
fillers = take_free_slots()
fresh = [bytes(64) for _ in range(100)]
pages = {id(item) >> 12 for item in fresh}
print(len(pages), len(fillers))
"""


def test_fresh_objects_share_pages() -> None:
    command = [sys.executable, "-I", "-S", "-c", _CODE, _SOURCE]
    pages, fillers = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert pages <= 4
    assert 0 < fillers < 600_000
