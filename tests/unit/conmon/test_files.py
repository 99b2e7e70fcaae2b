"""A starter leaves its monitor with the files that it needs, and with no other."""

from __future__ import annotations

import json
import subprocess
import sys

import crio

_SOURCE = crio.__file__.removesuffix("/crio/__init__.py")

_CODE = """
import json, os, select, socket, sys
sys.path.insert(0, sys.argv[1])
from crio.conmon.files import (
    EPOLL, FACTS, REAPED, STATUS_AT, Facts, Files, close_all_but, close_strays, hand_over
)

[null] = close_all_but([os.open("/dev/null", os.O_RDWR)])
first = null
session, other = socket.socketpair()
control, attach = socket.socket(), socket.socket()
stdout, output = os.pipe()
event = os.eventfd(0)
secret = os.open("/etc/passwd", os.O_RDONLY)
me = os.pidfd_open(os.getpid())
files = Files(session.fileno(), control.fileno(), attach.fileno(), -1, stdout, -1, me, -1, event)
for sock in (session, control, attach):
    sock.detach()
kept = hand_over(Facts(123, "/a/counter", b"a\\0request", files), [output, other.detach()])
os.write(kept[0], b"x")
open_files = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))
facts = Facts.read()
there = facts.files
facts.state = b"1 state\\0connections=%d 1 0" % kept[1]
facts.write()
again = Facts.read()
os.pwrite(FACTS, (256).to_bytes(4, sys.byteorder), STATUS_AT)
os.eventfd_write(REAPED, 1)
ready = [fd for fd, _ in select.epoll.fromfd(EPOLL).poll(5)]
read = os.read(there.stdout, 9).decode()
close_strays(again.open_files())
left = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))
print(json.dumps({
    "first": first, "open": open_files, "kept": kept, "stdin": there.stdin, "stderr": there.stderr, "read": read,
    "ready": there.stdout in ready, "status": facts.wait_status(), "left": left,
    "facts": [again.pid, again.counter, again.request.decode(), again.state.decode()],
    "same": again.files.in_order() == there.in_order(),
}))
"""


def test_files_move_to_low_numbers_and_everything_else_is_closed() -> None:
    command = [sys.executable, "-I", "-S", "-c", _CODE, _SOURCE]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    facts = json.loads(done.stdout)
    assert facts["first"] == 3
    assert facts["kept"] == [12, 13]
    # The last one is the directory that was being listed.
    assert facts["open"][:-1] == list(range(facts["kept"][1] + 1))
    assert facts["facts"] == [123, "/a/counter", "a\0request", "1 state\0connections=13 1 0"]
    assert facts["same"]
    assert facts["status"] == 256
    # A stray is closed, a connection of the last server is not.
    assert [fd for fd in facts["open"] if fd not in facts["left"]] in ([12], [12, facts["open"][-1]])
    assert (facts["stdin"], facts["stderr"]) == (-1, -1)
    assert facts["read"] == "x"
    assert facts["ready"]
