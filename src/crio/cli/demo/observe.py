"""What can be seen of a pod without asking the daemon: its lines, its HTTP answers, its monitor's memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from crio.base.errors import DeadlineExceeded

_ANSWER_SECONDS = 10.0


class Lines:
    """A stream whose whole lines go to the display."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show, self._rest, self.count = show, "", 0

    def write(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data.decode("utf-8", "replace")).split("\n")
        for line in lines:
            self._show(line)
            self.count += 1

    def flush(self) -> None:
        """Lines are shown as they come."""


async def fetch(address: str, port: int) -> str:
    """The body of an HTTP answer, as soon as something answers."""
    deadline = asyncio.get_running_loop().time() + _ANSWER_SECONDS
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                reader, writer = await asyncio.open_connection(address, port)
                try:
                    writer.write(f"GET / HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
                    answer = await reader.read(1 << 16)
                    while more := await reader.read(1 << 16):
                        answer += more
                finally:
                    writer.close()
                return answer.partition(b"\r\n\r\n")[2].decode("utf-8", "replace").strip()
        except TimeoutError:
            raise DeadlineExceeded(f"cannot reach {address}:{port}: no answer in {_ANSWER_SECONDS:g} s") from None
        except ConnectionError as error:
            if asyncio.get_running_loop().time() + 0.05 > deadline:
                raise DeadlineExceeded(f"cannot reach {address}:{port}: {error}") from None
            await asyncio.sleep(0.02)


def parent(pid: int) -> int:
    """The pid of a process' parent."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[1])


def own_memory(pid: int) -> int:
    """Memory in bytes that a process shares with nobody."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_")) * 1024
