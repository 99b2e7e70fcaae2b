"""docs/security.md and the tests name each other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
DOCUMENT = HERE.parent.parent / "docs" / "security.md"
LINES = 20 + 26 + 19


def rows() -> list[list[str]]:
    """Lines of the tables, as cells."""
    found = [line.strip("|").split("|") for line in DOCUMENT.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in found if row[0].strip() != "line"]


def attacks() -> set[str]:
    """The names of the tests that are attacks."""
    modules = [ast.parse(path.read_text()) for path in HERE.glob("test_*.py") if path.name != "test_table.py"]
    functions = [node for module in modules for node in module.body if isinstance(node, ast.AsyncFunctionDef)]
    return {function.name for function in functions if function.name.startswith("test_")}


def test_every_line_has_its_attack_or_a_reason() -> None:
    assert len(rows()) == LINES
    named = {cell.strip("`") for *_, cell in rows() if cell != "-"}
    assert named == attacks()
    assert all(defence.startswith("not applicable: ") for _, _, defence, test in rows() if test == "-")


def test_a_test_is_named_after_its_line() -> None:
    for line, _, _, test in rows():
        identifier = re.search(r"(?:CVE|GHSA)[-\w]+|^\w+ \w+", line)
        assert identifier is not None
        assert test == "-" or re.sub(r"\W", "_", identifier[0].lower()) in test
