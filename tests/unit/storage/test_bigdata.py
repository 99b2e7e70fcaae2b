from __future__ import annotations

from pathlib import Path

import pytest

from crio.base.errors import InvalidArgument, NotFound
from crio.storage import bigdata


def test_file_names_are_those_of_other_tools() -> None:
    assert bigdata.file_name("manifest") == "manifest"
    assert bigdata.file_name("a.b1") == "a.b1"
    assert bigdata.file_name("sha256:ab") == "=c2hhMjU2OmFi"
    assert bigdata.file_name("Upper") == "=VXBwZXI="


@pytest.mark.parametrize("key", ["", "???", ".."])
def test_keys_that_lead_elsewhere(key: str) -> None:
    if key == "..":
        assert bigdata.file_name(key) == "=Li4="
        return
    with pytest.raises(InvalidArgument):
        bigdata.file_name(key)


def test_blobs_come_back(tmp_path: Path) -> None:
    directory = str(tmp_path / "x")
    bigdata.write(directory, "sha256:ab", b"content", durable=True)
    assert bigdata.read(directory, "sha256:ab", "image x") == b"content"
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o700
    with pytest.raises(NotFound, match="image x"):
        bigdata.read(directory, "other", "image x")
