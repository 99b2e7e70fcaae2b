"""What goes wrong when JSON from outside is decoded."""

from __future__ import annotations

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""All that msgspec raises for bytes that are not the JSON asked for: text that is not UTF-8 is an error of Python's."""
