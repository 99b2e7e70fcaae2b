from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crio.base.errors import NotFound
from crio.cli.crioctl import logfile
from crio.cli.crioctl.logfile import Printer, Selection, sortable_time, tail_offset

TIMES = [f"2026-01-01T00:00:0{second}.000000000Z" for second in range(10)]


def line(index: int, text: str, *, stream: str = "stdout", tag: str = "F") -> bytes:
    return f"{TIMES[index]} {stream} {tag} {text}\n".encode()


def shown(path: Path, *, tail: int = -1, **selection: object) -> tuple[str, str]:
    out, err = io.BytesIO(), io.BytesIO()
    printer = Printer(Selection(**selection), out, err)  # type: ignore[arg-type]
    logfile.read(str(path), printer, tail=tail).close()
    return out.getvalue().decode(), err.getvalue().decode()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "0.log"
    path.write_bytes(
        line(0, "one")
        + line(1, "bad", stream="stderr")
        + line(2, "be", tag="P")
        + line(3, "gin", tag="P")
        + line(4, "ning")
        + b"garbage\n"
        + line(5, "")
        + line(6, "last")
        + b"2026-01-01T00:00:07Z stdout F cut o"
    )
    return path


def test_streams_and_parts(log: Path) -> None:
    assert shown(log) == ("one\nbeginning\n\nlast\n", "bad\n")


def test_one_stream(log: Path) -> None:
    assert shown(log, stream="stderr") == ("", "bad\n")


def test_timestamps_stand_once_before_a_line(log: Path) -> None:
    out, err = shown(log, timestamps=True)
    assert out == f"{TIMES[0]} one\n{TIMES[2]} beginning\n{TIMES[5]} \n{TIMES[6]} last\n"
    assert err == f"{TIMES[1]} bad\n"


def test_since(log: Path) -> None:
    assert shown(log, since=sortable_time("2026-01-01T00:00:05Z")) == ("\nlast\n", "")


def test_limit(log: Path) -> None:
    assert shown(log, limit_bytes=6) == ("one\n", "ba")
    assert shown(log, limit_bytes=0) == ("", "")


@pytest.mark.parametrize(
    ("count", "expected"), [(0, ""), (1, "last\n"), (2, "\nlast\n"), (4, "beginning\n\nlast\n"), (99, None)]
)
def test_tail(tmp_path: Path, log: Path, count: int, expected: str | None) -> None:
    log.write_bytes(log.read_bytes().removesuffix(b"2026-01-01T00:00:07Z stdout F cut o"))
    # What is no entry counts as a line, as far as a reader from the end can tell.
    out, _ = shown(log, tail=count + (count >= 3))
    assert out == (expected if expected is not None else "one\nbeginning\n\nlast\n")


def test_tail_over_many_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    lines = [line(index % 10, f"line {index} " + "x" * (index % 90)) for index in range(500)]
    path.write_bytes(b"".join(lines))
    for block in (7, 64, 1000, 1 << 18):
        monkeypatch.setattr(logfile, "READ_BYTES", block)
        with path.open("rb") as file:
            for count in (1, 2, 17, 499, 500, 501):
                file.seek(tail_offset(file, count))
                assert file.read() == b"".join(lines[-count:])


def test_times_compare_across_forms() -> None:
    assert sortable_time("2026-01-01T01:00:00+01:00") == sortable_time("2026-01-01T00:00:00Z")
    assert sortable_time("2026-01-01T00:00:00.5Z") > sortable_time("2026-01-01T00:00:00.499999999Z")
    assert sortable_time("2026-01-01T00:00:00.1-02:30") == "2026-01-01T02:30:00.100000000Z"
    assert sortable_time("no time") == "no time"


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="cannot read the log"):
        logfile.Reader(str(tmp_path / "none"))


class Scene:
    """Follows a log while steps, one a tick, change it; the container runs until the last step."""

    def __init__(self, path: Path, *steps: object) -> None:
        self.path, self.steps, self.ended = path, list(steps), False
        self.out = io.BytesIO()

    async def ticks(self) -> AsyncIterator[None]:
        for _ in range(200):
            yield
            if self.steps:
                step = self.steps.pop(0)
                if callable(step):
                    step()
            else:
                self.ended = True
        raise AssertionError("the follower does not end")

    async def is_running(self) -> bool:
        return not self.ended

    async def play(self) -> str:
        printer = Printer(Selection(), self.out, io.BytesIO())
        reader = logfile.read(str(self.path), printer)
        await logfile.follow(reader, str(self.path), printer, self.is_running, self.ticks)
        return self.out.getvalue().decode()


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


async def test_follow_shows_what_is_appended_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(line(0, "a"))
    scene = Scene(
        path,
        lambda: append(path, line(1, "b")),
        None,
        lambda: append(path, line(2, "c")[:30]),
        lambda: append(path, line(2, "c")[30:]),
    )
    assert await scene.play() == "a\nb\nc\n"


async def test_follow_goes_on_in_the_new_file_after_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(line(0, "a"))

    def rotate() -> None:
        append(path, line(1, "written before the rename"))
        os.rename(path, tmp_path / "log.1")
        path.write_bytes(line(2, "new file"))

    assert await Scene(path, rotate, None, lambda: append(path, line(3, "d"))).play() == (
        "a\nwritten before the rename\nnew file\nd\n"
    )


async def test_follow_waits_for_the_new_file_in_the_middle_of_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(line(0, "a"))
    scene = Scene(path, lambda: os.rename(path, tmp_path / "log.1"), None, lambda: path.write_bytes(line(1, "b")), None)
    assert await scene.play() == "a\nb\n"


async def test_follow_starts_again_in_a_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(line(0, "a long enough line"))

    def truncate() -> None:
        os.truncate(path, 0)
        append(path, line(1, "b"))

    assert await Scene(path, truncate).play() == "a long enough line\nb\n"


async def test_follow_ends_when_the_file_is_gone_for_good(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(line(0, "a"))
    scene = Scene(path, path.unlink, *[None] * 50)
    assert await scene.play() == "a\n"
