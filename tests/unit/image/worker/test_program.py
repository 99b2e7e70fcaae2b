"""The worker's process, without its work: what it says always fits into a packet."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from crio.image.cancellation import Cancellation
from crio.image.progress import LayerState, Progress
from crio.image.worker.jobs import Worker
from crio.image.worker.messages import (
    MAX_MESSAGE,
    Failed,
    Finished,
    Load,
    Reply,
    Settings,
    StoredImage,
    Update,
    Work,
    decode_reply,
    encode,
)
from crio.image.worker.program import Program

Job = Callable[[Progress], tuple[StoredImage, ...]]


class Given:
    """A worker that does what a test says."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def run(self, request: Work, scope: Cancellation, progress: Progress) -> tuple[StoredImage, ...]:
        return self._job(progress)


def replies(job: Job) -> Iterator[Reply]:
    """All that a worker says of one job."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        thread = threading.Thread(target=Program(theirs, cast(Worker, Given(job))).serve)
        thread.start()
        ours.settimeout(60.0)
        ours.send(encode(Load(7, "/x", Settings())))
        try:
            while True:
                reply = decode_reply(ours.recv(MAX_MESSAGE))
                yield reply
                if not isinstance(reply, Update):
                    return
        finally:
            ours.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("character", ["x", "\u2028", '"'])
def test_many_layers_with_long_types(character: str) -> None:
    digests = [f"sha512:{number:0128x}" for number in range(500)]

    def job(progress: Progress) -> tuple[StoredImage, ...]:
        for digest in digests:
            progress.layer(digest, 1 << 50, LayerState.WAITING, character * 5000)
        return ()

    *updates, end = replies(job)
    assert isinstance(end, Finished)
    told = [layer for update in updates if isinstance(update, Update) for layer in update.layers]
    assert {layer.digest for layer in told} == set(digests)
    assert {layer.media_type for layer in told} == {character * 128}


def test_an_end_that_does_not_fit_is_told_as_a_failure() -> None:
    image = StoredImage("a" * 64, ("b" * 200,), "c" * 71)
    *_, end = replies(lambda progress: (image,) * 2000)
    assert isinstance(end, Failed)
    assert "too many images" in end.message
