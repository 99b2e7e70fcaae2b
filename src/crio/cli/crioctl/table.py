"""Columns as crictl prints them: at least 20 wide, three spaces between, the last one free."""

from __future__ import annotations

from collections.abc import Sequence

MINIMUM, PADDING = 20, 3


def lines(rows: Sequence[Sequence[str]], *, minimum: int = MINIMUM) -> list[str]:
    """The rows as aligned lines. Line breaks and control characters within a cell are shown as `?`."""
    clean = [[_printable(cell) for cell in row] for row in rows]
    columns = max((len(row) for row in clean), default=0) - 1
    widths = [
        max(minimum, *(len(row[index]) + PADDING for row in clean if index < len(row) - 1)) for index in range(columns)
    ]
    return ["".join(cell.ljust(widths[i]) for i, cell in enumerate(row[:-1])) + row[-1] for row in clean if row]


def show(rows: Sequence[Sequence[str]], *, minimum: int = MINIMUM) -> None:
    """Print the rows."""
    print("\n".join(lines(rows, minimum=minimum)))


def _printable(cell: str) -> str:
    """Names and labels come from outside, and must not move the cursor of whoever lists them."""
    return cell if cell.isprintable() else "".join(char if char.isprintable() else "?" for char in cell)
