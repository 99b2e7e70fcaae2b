"""The packets' bytes, and what is refused."""

from __future__ import annotations

import os
import socket

import pytest

from crio.conmon.packets import MAX_PACKET, PacketError, decode, encode, receive, send


def test_bytes() -> None:
    assert encode("resize", {"rows": 3, "flag": True, "name": "a b", "list": ["x", "y=z"], "none": []}) == (
        b"1 resize\0rows=3\0flag=1\0name=a b\0list=x\0list=y=z"
    )


def test_round_trip() -> None:
    packet = decode(encode("v", {"n": -5, "on": True, "off": False, "t": "ä\udcff\n", "many": ["", "b"]}))
    assert (packet.protocol, packet.verb) == (1, "v")
    assert packet.number("n") == -5
    assert (packet.flag("on"), packet.flag("off"), packet.flag("absent")) == (True, False, False)
    assert packet.text("t") == "ä\udcff\n"
    assert packet.many("many") == ["", "b"]
    assert (packet.text("absent", "d"), packet.number("absent", 7), packet.many("absent")) == ("d", 7, [])


@pytest.mark.parametrize("data", [b"", b"x", b"1", b"1 ", b" verb", b"12345 verb", b"1 verb\0no-equals", b"-1 v"])
def test_malformed(data: bytes) -> None:
    with pytest.raises(PacketError):
        decode(data)


def test_number_that_is_none() -> None:
    with pytest.raises(PacketError, match="rows is not a number"):
        decode(b"1 v\0rows=1x").number("rows")


def test_limits_of_what_is_sent() -> None:
    with pytest.raises(PacketError, match="NUL"):
        encode("v", {"t": "a\0b"})
    with pytest.raises(PacketError, match="longer than"):
        encode("v", {"t": "x" * MAX_PACKET})


def test_files_travel_and_are_closed_on_exec() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        read_end, write_end = os.pipe()
        send(ours, "take", {}, [write_end])
        os.close(write_end)
        packet = receive(theirs)
        assert packet is not None
        (fd,) = packet.fds
        assert not os.get_inheritable(fd)
        os.write(fd, b"through")
        packet.close()
        assert packet.fds == []
        assert os.read(read_end, 10) == b"through"
        assert os.read(read_end, 10) == b""
        os.close(read_end)
        ours.close()
        assert receive(theirs) is None


def test_oversized_packet_is_refused_and_its_files_closed() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        read_end, write_end = os.pipe()
        rights = write_end.to_bytes(4, "little")
        ours.sendmsg([b"1 v\0t=" + b"x" * MAX_PACKET], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        os.close(write_end)
        with pytest.raises(PacketError, match="longer"):
            receive(theirs)
        assert os.read(read_end, 1) == b""
        os.close(read_end)


def test_broken_packet_closes_its_files() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        read_end, write_end = os.pipe()
        ours.sendmsg([b"junk"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, write_end.to_bytes(4, "little"))])
        os.close(write_end)
        with pytest.raises(PacketError, match="malformed"):
            receive(theirs)
        assert os.read(read_end, 1) == b""
        os.close(read_end)
