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
from crio.conmon.files import EPOLL, FACTS, Files, close_all_but, hand_over, read_facts

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
kept = hand_over(files, b"about\\0all", [output, other.detach()])
os.write(kept[0], b"x")
open_files = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))
there, about = read_facts()
ready = [fd for fd, _ in select.epoll.fromfd(EPOLL).poll(5)]
print(json.dumps({
    "first": first, "open": open_files, "kept": kept, "about": about.decode(), "stdin": there.stdin,
    "stderr": there.stderr, "read": os.read(there.stdout, 9).decode(), "ready": there.stdout in ready,
}))
"""


def test_files_move_to_low_numbers_and_everything_else_is_closed() -> None:
    command = [sys.executable, "-I", "-S", "-c", _CODE, _SOURCE]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    facts = json.loads(done.stdout)
    assert facts["first"] == 3
    assert facts["kept"] == [11, 12]
    # The last one is the directory that was being listed.
    assert facts["open"][:-1] == list(range(facts["kept"][1] + 1))
    assert facts["about"] == "about\0all"
    assert (facts["stdin"], facts["stderr"]) == (-1, -1)
    assert facts["read"] == "x"
    assert facts["ready"]
