from __future__ import annotations

import pytest

from crio.base.errors import InvalidArgument
from crio.container.specgen.umask import umask


def test_octal() -> None:
    assert umask({}) is None
    assert umask({"umask.crio.io": "0027"}) == 0o27
    assert umask({"io.kubernetes.cri-o.umask": "77"}) == 0o77


@pytest.mark.parametrize("text", ["9", "00000", "0x1", "-1", "77\n"])
def test_not_octal(text: str) -> None:
    with pytest.raises(InvalidArgument):
        umask({"umask.crio.io": text})
