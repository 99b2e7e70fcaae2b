"""The list of what is loaded late: its names are right, and a program works as it did without it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from crio.cli.late_modules import LATE

PROGRAM = """
from crio.cli.late_modules import load_rarely_used_late
load_rarely_used_late()
import json, shutil
import typing_extensions
assert "dumps" not in vars(json) and "rmtree" not in vars(shutil), "they are there already"
assert json.dumps({"a": shutil.disk_usage("/").total > 0}) == '{"a": true}'
assert vars(json)["dumps"] is json.dumps
assert typing_extensions.Protocol, "it is hidden from msgspec alone"
"""


@pytest.mark.parametrize("name", LATE)
def test_a_name_is_that_of_a_module(name: str) -> None:
    assert importlib.util.find_spec(name) is not None


def test_a_late_module_is_run_when_something_is_asked_of_it() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
