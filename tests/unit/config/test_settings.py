"""Arbitrary input is either taken or refused with a ConfigError; nothing else ever comes out."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from crio.config import ConfigError, parse
from crio.config.catalog import entries
from crio.config.convert import quote
from crio.config.position import lines_of_keys

NAMES = st.sampled_from([*(entry.name for entry in entries().values()), "runtimes", "workloads", "unknown", "a.b"])
SCALARS = st.one_of(
    st.booleans(), st.integers(), st.text(max_size=20), st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=5,
)
TABLES = st.sampled_from(sorted({entry.table.replace("*", "x") for entry in entries().values()} | {"other", "crio.x"}))


def written(value: Any) -> str:
    """TOML of a value, in one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, list):
        return "[" + ", ".join(written(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quote(name)} = {written(item)}" for name, item in value.items()) + "}"
    return str(value)


@given(st.dictionaries(TABLES, st.dictionaries(NAMES, VALUES, max_size=4), max_size=3))
def test_any_toml(content: dict[str, dict[str, Any]]) -> None:
    lines = []
    for table, keys in content.items():
        lines.append(f"[{table}]")
        lines += [f"{quote(name)} = {written(value)}" for name, value in keys.items()]
    with contextlib.suppress(ConfigError):
        parse("\n".join(lines), "x")


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    lines_of_keys(text)
    with contextlib.suppress(ConfigError):
        parse(text, "x")


@given(st.text(max_size=50))
def test_any_string_survives_quoting(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    config = parse(f"[crio.image]\nglobal_auth_file = {quote(text)}\n", "x")
    assert config.image.global_auth_file == text
