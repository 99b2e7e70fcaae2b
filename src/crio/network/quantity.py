"""Kubernetes' notation of amounts, as bandwidth annotations have it: 10M, 512Ki, 1.5e6."""

from __future__ import annotations

import re

from crio.base.regex import regex

_FORM = regex(
    r"\+?(?P<whole>\d{1,19})(\.(?P<part>\d{0,9}))?(?P<suffix>|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE]\+?\d{1,2})",
    re.ASCII,
)
_SCALE = 10**9


def parse_quantity(text: str) -> int | None:
    """The amount, rounded up to a whole number, or None if it is none or negative."""
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    suffix = match["suffix"]
    billionths = int(match["whole"]) * _SCALE + int((match["part"] or "").ljust(9, "0"))
    if suffix == "m":
        return -(-billionths // (1000 * _SCALE))
    return -(-billionths * _factor(suffix) // _SCALE)


def _factor(suffix: str) -> int:
    if len(suffix) == 2 and suffix[1] == "i":
        return 1 << (10 * ("KMGTPE".index(suffix[0]) + 1))
    if len(suffix) > 1:
        return int("1" + "0" * int(suffix[1:]))
    return int("1" + "000" * ("kMGTPE".index(suffix) + 1)) if suffix else 1
