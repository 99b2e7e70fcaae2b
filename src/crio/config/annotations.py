"""Names of annotations with a special meaning, which a handler or workload can allow."""

from __future__ import annotations

from collections.abc import Sequence

from crio.spec.annotations import FEATURES, OLDER, RUNTIME_OWNED

GUARDED = FEATURES | RUNTIME_OWNED | frozenset(OLDER.values())
"""All names, or beginnings of names, that a pod may use only where its handler or workload allows them."""


def check_allowed(names: Sequence[str]) -> None:
    """ValueError if one of `names` is no annotation that can be allowed."""
    for name in names:
        if name not in GUARDED:
            import difflib

            near = difflib.get_close_matches(name, sorted(GUARDED), 1)
            raise ValueError(
                f'allowed_annotations has "{name}", which has no special meaning'
                + (f"; the nearest known name is {near[0]}" if near else "")
            )
