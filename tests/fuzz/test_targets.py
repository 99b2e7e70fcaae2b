from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crio.base.errors import CrioError
from fuzz.targets import CORPUS, TARGETS, inputs


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_corpus(path: Path) -> None:
    """No input that is kept does any harm; those whose name begins with `bad` are refused."""
    target, data = TARGETS[path.parent.name], path.read_bytes()
    try:
        target(data)
    except CrioError:
        return
    assert not path.name.startswith("bad")


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
def test_mutations(name: str, data: st.DataObject) -> None:
    """Inputs of the corpus, cut, spliced and changed."""
    try:
        TARGETS[name](_mutated(data, inputs(name)))
    except CrioError:
        pass


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.binary(max_size=2000))
def test_noise(name: str, data: bytes) -> None:
    try:
        TARGETS[name](data)
    except CrioError:
        pass


def _mutated(data: st.DataObject, corpus: list[bytes]) -> bytes:
    source = bytearray(data.draw(st.sampled_from(corpus), label="input"))
    chance = random.Random(data.draw(st.integers(0, 1 << 32), label="seed"))
    for _ in range(data.draw(st.integers(1, 6), label="changes")):
        at = chance.randrange(len(source) + 1)
        match chance.randrange(6):
            case 0:
                del source[at : at + chance.randrange(1, 600)]
            case 1:
                source[at:at] = chance.randbytes(chance.randrange(1, 20))
            case 2 if at < len(source):
                source[at] ^= 1 << chance.randrange(8)
            case 3 if at < len(source):
                source[at] = chance.choice(b'\x00\xff09{}[]":,/@=')
            case 4:
                other = chance.choice(corpus)
                source[at:] = other[chance.randrange(len(other) + 1) :]
            case _:
                source += source[at : at + 512]
    return bytes(source)
