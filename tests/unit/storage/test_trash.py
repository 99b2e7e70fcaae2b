from __future__ import annotations

import os
from pathlib import Path

from crio.storage.trash import Trash


def test_small_trees_go_at_once_and_large_ones_by_the_end(tmp_path: Path) -> None:
    bin = Trash()
    for name, count in (("small", 5), ("large", 2000)):
        (tmp_path / name).mkdir()
        for number in range(count):
            (tmp_path / name / str(number)).write_text("")
        bin.discard(str(tmp_path / name), str(tmp_path))
        assert not (tmp_path / name).exists()
    bin.empty()
    bin.close()
    assert os.listdir(tmp_path / "tempdirs") == []
