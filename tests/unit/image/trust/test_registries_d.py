"""registries.d: the narrowest section that has a key counts, and no key has two."""

from __future__ import annotations

from pathlib import Path

import pytest

from crio.base.errors import InvalidArgument
from crio.image.trust.registries_d import DEFAULT_LOOKASIDE, load, load_directory
from crio.wire import reference

FILE = """
default-docker:
  sigstore: file:///default
  use-sigstore-attachments: true
docker:
  a.example:
    lookaside: https://a.example/sigs
    lookaside-staging: file:///staging
  a.example/team:
    use-sigstore-attachments: false
  a.example/team/app:1:
    sigstore: http://old.example
  b.example:
"""


def test_sections(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(FILE)
    (tmp_path / "note.txt").write_text("[")
    places = load_directory(str(tmp_path))
    for name, lookaside, attached in (
        ("a.example/x:1", "https://a.example/sigs", True),
        ("a.example/team/app:2", "https://a.example/sigs", False),
        ("a.example/team/app:1", "http://old.example", False),
        ("a.example:5000/x:1", "file:///default", True),
        ("b.example/x:1", "file:///default", True),
    ):
        assert places.lookaside(reference.parse(name)) == lookaside
        assert places.attached(reference.parse(name)) is attached


def test_without_any(tmp_path: Path) -> None:
    places = load_directory(str(tmp_path / "absent"))
    name = reference.parse("busybox:1")
    assert (places.lookaside(name), places.attached(name)) == (DEFAULT_LOOKASIDE, False)


def test_the_users_own_directory(tmp_path: Path) -> None:
    own = tmp_path / ".config/containers/registries.d"
    own.mkdir(parents=True)
    (own / "x.yaml").write_text("docker: {docker.io: {lookaside: 'file:///mine'}}")
    assert load(str(tmp_path)).lookaside(reference.parse("busybox")) == "file:///mine"


@pytest.mark.parametrize(
    "text", ["- a list", "docker: [", "docker: {a: {lookaside: 5}}", "default-docker: {}", "docker: {a.example: {}}"]
)
def test_what_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "one.yaml").write_text(FILE)
    (tmp_path / "two.yaml").write_text(text)
    with pytest.raises(InvalidArgument, match=r"two\.yaml"):
        load_directory(str(tmp_path))
