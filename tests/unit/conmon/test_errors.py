"""What runtimes say, in one sentence."""

from __future__ import annotations

import pytest

from crio.conmon.errors import RuntimeFailed, sentence


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        ("", ""),
        ("executable file `x` not found in $PATH: No such file or directory\n",) * 2,
        (
            "2026-11-22T03:04:14.123456Z: executable file `x` not found in $PATH: No such file or directory\n",
            "executable file `x` not found in $PATH: No such file or directory",
        ),
        (
            'time="2026-11-22T03:00:00Z" level=warning msg="cgroup v1 is old"\n'
            'time="2026-11-22T03:00:01Z" level=error msg="runc create failed: exec: \\"x\\": '
            'executable file not found in $PATH"\n',
            'runc create failed: exec: "x": executable file not found in $PATH',
        ),
        (
            '{"level":"warning","msg":"old"}\n{"level":"error","msg":"container \\"a\\" does not exist"}\n',
            'container "a" does not exist',
        ),
        ('{"level":"warning","msg":"only a warning"}\n', "only a warning"),
        ("first cause\nlast   error\n\n", "last error"),
        ("{broken json\n", "{broken json"),
    ],
)
def test_sentence(stderr: str, expected: str) -> None:
    assert sentence(stderr) == expected.strip()


def test_sentence_is_bounded() -> None:
    assert len(sentence("x" * 100_000)) <= 1025


def test_a_line_that_is_nested_without_end_is_text() -> None:
    assert sentence('{"msg":' + "[" * 5000).startswith('{"msg":[')


def test_message() -> None:
    error = RuntimeFailed("start container 4f2a", "crun", "it is gone")
    assert error.message == "cannot start container 4f2a: crun: it is gone"
    assert error.reason == "it is gone"
