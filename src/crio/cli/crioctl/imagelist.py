"""Images: listing, filters, and the names that tables show."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.cli.crioctl.listing import pattern
from crio.cli.crioctl.session import Session

NONE = "<none>"


def add_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-f",
        "--filter",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="dangling=true|false, reference=REGEXP, before=IMAGE, since=IMAGE; may be given several times",
    )


async def images(session: Session, name: str, filters: Sequence[str]) -> list[pb.Image]:
    """The images called `name` ("" for all), sorted by name, that pass the filters. Raises InvalidArgument."""
    request = pb.ListImagesRequest(filter=pb.ImageFilter(image=pb.ImageSpec(image=name)) if name else None)
    response = await session.images.call("ListImages", request, pb.ListImagesResponse)
    found = sorted(response.images, key=_order)
    for each in filters:
        found = _filtered(found, each)
    return found


def _order(image: pb.Image) -> tuple[str, str]:
    first = image.repo_tags or image.repo_digests or [image.id]
    return first[0], image.id


def _filtered(found: list[pb.Image], text: str) -> list[pb.Image]:
    key, separator, value = text.partition("=")
    match key if separator else "":
        case "dangling" if value in ("true", "false"):
            return [image for image in found if (not image.repo_tags) == (value == "true")]
        case "reference":
            wanted = pattern("--filter reference", value)
            return [
                image
                for image in found
                if wanted is None
                or wanted.search(name_and_digest(image)[0])
                or any(map(wanted.search, image.repo_tags))
            ]
        case "before":
            return found[_position(found, value) + 1 :]
        case "since":
            return found[: _position(found, value)]
        case _:
            raise InvalidArgument(
                f"cannot filter by {text!r}: choose dangling=true|false, reference=REGEXP, before=IMAGE, since=IMAGE"
            )


def _position(found: Sequence[pb.Image], value: str) -> int:
    for index, image in enumerate(found):
        if image.id.removeprefix("sha256:").startswith(value) or value in (*image.repo_tags, *image.repo_digests):
            return index
    raise InvalidArgument(f"cannot use the filter: there is no image {value!r} in the list")


def name_and_digest(image: pb.Image) -> tuple[str, str]:
    """The repository and digest of the first repository digest."""
    if not image.repo_digests:
        return NONE, NONE
    repository, _, digest = image.repo_digests[0].partition("@")
    return repository, digest or NONE


def names_and_tags(image: pb.Image, name: str) -> list[tuple[str, str]]:
    """A pair of repository and tag for each tag, or one without a tag."""
    if not image.repo_tags:
        return [(name, NONE)]
    pairs = []
    for tag in image.repo_tags:
        repository, _, version = tag.rpartition(":")
        pairs.append((name if repository in ("", NONE) else repository, version))
    return pairs
