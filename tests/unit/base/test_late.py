"""Modules that wait for their first use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_HEAD = "import sys\nfrom crio.base.late import load_late, without\n"


def run(code: str, directory: Path) -> str:
    """In a Python of its own, where nothing has been imported; module files are looked for in `directory`."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"{_HEAD}sys.path.insert(0, {str(directory)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "noisy.py").write_text('print("runs")\nvalue = 7\n')
    (tmp_path / "broken.py").write_text("raise ValueError('damaged')\n")
    (tmp_path / "slow.py").write_text("import time\nfirst = 1\ntime.sleep(0.2)\nlast = 2\n")
    return tmp_path


def test_runs_at_the_first_attribute_and_once(directory: Path) -> None:
    code = """
load_late(["noisy"])
import noisy
import noisy
print("imported", noisy.__name__, noisy.__spec__.origin.endswith("noisy.py"))
print(noisy.value, noisy.value, type(noisy).__name__)
from noisy import value
try:
    noisy.other
except AttributeError as error:
    print(error)
"""
    assert run(code, directory).splitlines() == [
        "imported noisy True",
        "runs",
        "7 7 module",
        "module 'noisy' has no attribute 'other'",
    ]


def test_known_attributes_do_not_run_it_and_give_way(directory: Path) -> None:
    code = """
load_late(["noisy"], {"noisy": {"value": "stand-in"}})
import noisy
print(noisy.value)
try:
    noisy.other
except AttributeError:
    print(noisy.value)
"""
    assert run(code, directory).split() == ["stand-in", "runs", "7"]


def test_from_import_runs_it(directory: Path) -> None:
    assert run('load_late(["noisy"])\nfrom noisy import value\nprint(value)', directory).split() == ["runs", "7"]


def test_what_is_missing_is_missed_at_the_import(directory: Path) -> None:
    code = (
        'load_late(["no_such"])\ntry:\n    import no_such\nexcept ModuleNotFoundError as error:\n    print(error.name)'
    )
    assert run(code, directory).strip() == "no_such"


def test_a_module_that_fails_says_so_where_it_is_used_and_is_tried_again(directory: Path) -> None:
    code = """
load_late(["broken"])
import broken
for _ in range(2):
    try:
        broken.value
    except ValueError as error:
        print(error)
"""
    assert run(code, directory).split() == ["damaged", "damaged"]


def test_other_threads_wait_until_it_is_loaded(directory: Path) -> None:
    code = """
load_late(["slow"])
import slow, threading
found = []
threads = [threading.Thread(target=lambda: found.append(slow.last)) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(found)
"""
    assert run(code, directory).strip() == "[2, 2, 2, 2]"


def test_without(directory: Path) -> None:
    code = """
with without("noisy"):
    try:
        import noisy
    except ImportError:
        print("hidden")
import noisy
with without("noisy"):
    import noisy
"""
    assert run(code, directory).split() == ["hidden", "runs"]
