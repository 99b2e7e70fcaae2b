"""What every source of an image offers."""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

from crio.base.ids import Digest
from crio.image.documents import Served
from crio.spec.oci_image import Descriptor


class ImageSource(Protocol):
    """One image, or all that go by one name. May be used by several threads."""

    def manifest(self, digest: Digest | None) -> Served:
        """The document with this digest; None: the one that the image's name stands for. Not verified."""

    def config(self, descriptor: Descriptor) -> bytes:
        """The configuration blob, at most 4 MiB. Not verified."""

    def layer(self, descriptor: Descriptor) -> Generator[bytes, None, None]:
        """A layer's bytes, as they are stored there, in pieces of at most some 256 KiB. Not verified.

        A descriptor's size of 0 means that it is not known.
        """
