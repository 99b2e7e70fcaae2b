"""Regular expressions that cost nothing until they are used.

The daemon's modules have some seventy of them; compiling all would be a tenth of its start, and most are never asked.
"""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast


def regex(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """As `re.compile`, but the expression is compiled, and a mistake in it found, when its first method is called."""
    return cast("re.Pattern[AnyStr]", _Uncompiled(text, flags))


class _Uncompiled:
    def __init__(self, text: str | bytes, flags: int) -> None:
        self._text = text
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        """Of the compiled expression; `re` keeps that, and the object keeps the method, so this runs once for each."""
        value = getattr(re.compile(self._text, self._flags), name)
        setattr(self, name, value)
        return value
