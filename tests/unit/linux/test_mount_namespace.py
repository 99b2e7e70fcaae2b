from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

JOIN = """
import os, sys
from crio.linux.mount_namespace import join
before = os.readlink("/proc/self/ns/mnt")
try:
    join(sys.argv[1])
except OSError as error:
    sys.exit(str(error.strerror))
print(os.getcwd(), before != os.readlink("/proc/self/ns/mnt"))
"""


def join(path: str) -> subprocess.CompletedProcess[str]:
    """Joins in a process of its own, which has one thread."""
    return subprocess.run([sys.executable, "-c", JOIN, path], capture_output=True, text=True, check=False)


@pytest.mark.root
def test_another_process_namespace_is_joined() -> None:
    with subprocess.Popen(["unshare", "--mount", "sh", "-c", "echo ready; read x"], stdin=-1, stdout=-1) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        other.stdout.readline()
        done = join(f"/proc/{other.pid}/ns/mnt")
        other.stdin.close()
    assert done.stdout == f"{Path.cwd()} True\n", done.stderr


def test_a_file_that_is_no_namespace_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert join(str(tmp_path / "file")).stderr == "it is no namespace\n"
    assert join(str(tmp_path / "missing")).stderr == "No such file or directory\n"
