"""Bars for the layers of a pull or load, drawn with plain terminal codes; nothing where stderr is no terminal."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType

from crio.api.crio.v1 import control_pb2
from crio.cli.crioctl.units import human_size, truncated

WIDTH = 30
_REDRAW_SECONDS = 0.05
_WORDS = {"waiting": "waiting", "fetching": "fetching", "unpacking": "unpacking", "done": "done", "exists": "have it"}


class Bars:
    """A context manager that shows one line for each layer, redrawn in place, and removes them at the end."""

    def __init__(self, title: str, *, enabled: bool = True) -> None:
        self._title = title
        self._layers: dict[str, control_pb2.LayerProgress] = {}
        self._stage = ""
        self._drawn = 0
        self._last = 0.0
        self._begun = 0.0
        self._enabled = enabled and sys.stderr.isatty() and os.environ.get("TERM") not in (None, "dumb")

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object | TracebackType) -> None:
        if self._enabled:
            self._draw(final=kind is None)

    def update(self, message: control_pb2.PullProgress) -> None:
        """Take over a progress message."""
        for layer in message.layers:
            known = self._layers.setdefault(layer.digest, control_pb2.LayerProgress(digest=layer.digest))
            known.MergeFrom(layer)
        self._stage = message.stage or self._stage
        now = time.monotonic()
        if self._enabled and now - self._last >= _REDRAW_SECONDS:
            self._last = now
            self._draw()

    def _amount(self) -> str:
        """What was received, and how fast since the first byte."""
        coming = [layer for layer in self._layers.values() if layer.state != "exists"]
        done = sum(layer.done for layer in coming)
        if not done:
            return ""
        now = time.monotonic()
        self._begun = self._begun or now
        rate = done / (now - self._begun) if now - self._begun > 1 else 0
        total = human_size(sum(layer.size for layer in coming), 3)
        return f" {human_size(done, 3)}/{total}" + (f" {human_size(round(rate), 3)}/s" if rate else "")

    def _draw(self, *, final: bool = False) -> None:
        columns, rows = os.get_terminal_size(sys.stderr.fileno())
        lines = [f"{self._title}: {self._stage or 'waiting'}{self._amount()}"]
        if not final:
            lines += [bar_line(layer) for layer in self._layers.values()]
            if len(lines) > rows - 1:
                rest = len(lines) - (rows - 2)
                lines = [*lines[: rows - 2], f"... and {rest} more layers"]
        text = f"\x1b[{self._drawn}F" if self._drawn else ""
        text += "".join(f"\x1b[2K{line[: columns - 1]}\n" for line in lines) if not final else ""
        sys.stderr.write(text + "\x1b[J")
        sys.stderr.flush()
        self._drawn = 0 if final else len(lines)


def bar_line(layer: control_pb2.LayerProgress) -> str:
    """`3f4ab1... [=====>    ] 12MB/40MB fetching` for one layer."""
    ended = layer.state in ("done", "exists")
    share = 1.0 if ended else min(layer.done / layer.size, 1.0) if layer.size else 0.0
    full = int(share * WIDTH)
    bar = "=" * WIDTH if full >= WIDTH else "=" * full + (">" if layer.done else " ") + " " * (WIDTH - full - 1)
    done = layer.size if ended else layer.done
    amount = f"{human_size(done, 3)}/{human_size(layer.size, 3)}" if layer.size else human_size(done, 3)
    return f"{truncated(layer.digest, 'sha256:')} [{bar}] {amount:>15} {_WORDS.get(layer.state, layer.state)}"
