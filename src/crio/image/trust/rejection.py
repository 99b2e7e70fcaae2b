"""Why one signature does not count; the image may have another that does."""

from __future__ import annotations


class Rejection(Exception):
    """`reason` reads on from "the signature is not accepted: "."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
