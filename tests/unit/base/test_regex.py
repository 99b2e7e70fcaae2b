"""Expressions that are compiled late are still all correct."""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest

import crio
from crio.base.regex import regex


def test_is_used_as_a_compiled_one() -> None:
    number = regex(r"(\d+)x", re.IGNORECASE)
    match = number.fullmatch("12X")
    assert match is not None
    assert match[1] == "12"
    assert number.fullmatch("x") is None
    assert [found[1] for found in number.finditer("1x 2X")] == ["1", "2"]
    assert number.pattern == r"(\d+)x"
    assert regex(rb"a+").search(b"baab") is not None


def test_a_mistake_is_found_at_the_first_use() -> None:
    wrong = regex("(")
    with pytest.raises(re.error):
        wrong.search("")


def test_all_of_this_project_can_be_compiled() -> None:
    kind = type(regex(""))
    checked = 0
    for module in pkgutil.walk_packages(crio.__path__, "crio."):
        if module.name.endswith("__main__"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, kind):
                value.search  # noqa: B018 - compiles it
                checked += 1
    assert checked > 50
