"""The image worker's process: runs each request in a thread, sends progress, leaves when its socket closes."""

from __future__ import annotations

import errno
import logging
import os
import select
import signal
import socket
import sys
import threading
import time

import msgspec

from crio.base.errors import CrioError, Internal, InvalidArgument, ResourceExhausted
from crio.base.failpoints import failpoint
from crio.image.cancellation import Cancellation
from crio.image.copy import Copier
from crio.image.platforms import host_platform
from crio.image.progress import Progress
from crio.image.worker.jobs import Worker
from crio.image.worker.messages import (
    MAX_MESSAGE,
    Cancel,
    Finished,
    Load,
    Pull,
    Reply,
    Update,
    Verify,
    Work,
    decode_request,
    encode,
    failure,
)
from crio.storage.options import StoreOptions
from crio.storage.store import Store

log = logging.getLogger(__name__)

_UPDATE_INTERVAL = 0.1
_LEAVE_SECONDS = 5.0
_LAYERS_PER_UPDATE = 100
"""An image may have 500, and all of them do not go into one packet if their names are long."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


class _Job:
    def __init__(self, request: Work) -> None:
        self.request = request
        self.scope = Cancellation(_subject(request))
        self.progress = Progress()


def _subject(request: Work) -> str:
    match request:
        case Pull():
            return request.image
        case Load():
            return request.path
        case Verify():
            return request.image_id


class Program:
    def __init__(self, connection: socket.socket, worker: Worker) -> None:
        self._connection = connection
        self._worker = worker
        self._jobs: dict[int, _Job] = {}
        self._threads: set[threading.Thread] = set()
        self._sending = threading.Lock()

    def serve(self) -> None:
        """Until the daemon closes its end; then all work is cancelled and given a moment to clean up."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        while True:
            busy = bool(self._jobs)
            if poll.poll(_UPDATE_INTERVAL * 1000 if busy else None):
                try:
                    data = self._connection.recv(MAX_MESSAGE)
                except ConnectionResetError:
                    # It was killed before it had read what it was told.
                    break
                if not data:
                    break
                self._accept(data)
            for number, job in list(self._jobs.items()):
                self._send_progress(number, job)
        for job in list(self._jobs.values()):
            job.scope.cancel("the daemon has gone")
        deadline = time.monotonic() + _LEAVE_SECONDS
        for thread in list(self._threads):
            thread.join(max(deadline - time.monotonic(), 0.0))

    def _accept(self, data: bytes) -> None:
        match decode_request(data):
            case Cancel(id=number, reason=reason):
                if job := self._jobs.get(number):
                    job.scope.cancel(reason)
            case request:
                job = self._jobs[request.id] = _Job(request)
                thread = threading.Thread(target=self._run, args=(job,), name=f"job-{request.id}", daemon=True)
                self._threads.add(thread)
                thread.start()

    def _run(self, job: _Job) -> None:
        number = job.request.id
        reply: Reply
        try:
            failpoint("image.worker.job")
            images = self._worker.run(job.request, job.scope, job.progress)
            reply = Finished(number, images)
        except Exception as error:  # noqa: BLE001 - the boundary: every error becomes the answer
            reply = failure(number, _as_crio_error(error))
        if self._jobs.pop(number, None) is not None:
            self._send_progress(number, job)
            self._send(reply)
        self._threads.discard(threading.current_thread())

    def _send_progress(self, number: int, job: _Job) -> None:
        layers, stage = job.progress.take_changes()
        if stage:
            self._send(Update(number, [], stage))
        for start in range(0, len(layers), _LAYERS_PER_UPDATE):
            self._send(Update(number, layers[start : start + _LAYERS_PER_UPDATE]))

    def _send(self, reply: Reply) -> None:
        try:
            data = encode(reply)
        except InvalidArgument:
            # Whoever waits must hear of the end. Updates are never so long.
            data = encode(failure(reply.id, Internal("cannot tell all that was done: there are too many images")))
        try:
            with self._sending:
                self._connection.send(data)
        except OSError:
            # The daemon has gone: the main thread is about to see it.
            pass


def _as_crio_error(error: Exception) -> CrioError:
    if isinstance(error, CrioError):
        return error
    if isinstance(error, OSError) and error.errno in _FULL:
        return ResourceExhausted(f"cannot store the image: no space left for {error.filename or 'it'}")
    if isinstance(error, OSError):
        return Internal(f"cannot store the image: {error}")
    log.error("the image worker has a fault", exc_info=error)
    return Internal(f"cannot finish: {type(error).__name__}: {error}")


def main(argv: list[str]) -> int:
    """`argv`: the socket's descriptor, and the store's options as JSON."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The same as the daemon's end: closing the socket is how it is told to leave, after undoing what it does.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.basicConfig(level=logging.INFO, format="image worker: %(message)s")
    connection = socket.socket(fileno=int(argv[1]))
    options = msgspec.json.decode(argv[2].encode(), type=StoreOptions)
    store = Store.open(options)
    host = host_platform()
    Program(connection, Worker(Copier(store, host), host)).serve()
    sys.stdout.flush()
    # Threads that hang in a system call would keep the interpreter from ending.
    os._exit(0)
