"""What every source of an image offers."""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

from crio.base.ids import Digest
from crio.image.documents import Served
from crio.spec.oci_image import Descriptor


class LayerContent(Protocol):
    """One layer on its way. After `chunks`, however that ended, one of the other two must be called."""

    def chunks(self) -> Generator[bytes, None, None]:
        """The layer's bytes as they are stored at the source, in pieces of at most some 256 KiB. Not verified."""

    def settle(self) -> bool:
        """The layer is in the store, or is of no use: nothing of it need be kept for another attempt.

        Whether bytes that an earlier attempt had kept were among those handed out.
        """

    def leave(self) -> None:
        """The transfer was interrupted: what is kept of it is for the next attempt."""


class StoredContent:
    """A layer that is on this machine already: there is nothing to keep of it."""

    def __init__(self, chunks: Generator[bytes, None, None]) -> None:
        self._chunks = chunks

    def chunks(self) -> Generator[bytes, None, None]:
        return self._chunks

    def settle(self) -> bool:
        return False

    def leave(self) -> None:
        pass


class ImageSource(Protocol):
    """One image, or all that go by one name. May be used by several threads."""

    def manifest(self, digest: Digest | None) -> Served:
        """The document with this digest; None: the one that the image's name stands for. Not verified."""

    def config(self, descriptor: Descriptor) -> bytes:
        """The configuration blob, at most 4 MiB. Not verified."""

    def layer(self, descriptor: Descriptor) -> LayerContent:
        """A layer. A descriptor's size of 0 means that it is not known."""

    def part(self, descriptor: Descriptor, start: int, stop: int) -> Generator[bytes, None, None] | None:
        """Bytes of a layer, where getting them alone is cheaper than getting the whole; else None."""
