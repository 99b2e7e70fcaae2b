"""The files that a pod's containers share."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import InvalidArgument
from crio.sandbox import files
from crio.sandbox.files import DEFAULT_SHM_SIZE, let_in, shm_size


def test_resolv_conf_of_a_request() -> None:
    dns = pb.DNSConfig(servers=["10.0.0.10", "fd00::a"], searches=["a.svc", "b"], options=["ndots:5", "timeout:1"])
    assert files.resolv_conf(dns) == (
        b"search a.svc b\nnameserver 10.0.0.10\nnameserver fd00::a\noptions ndots:5 timeout:1\n"
    )


def test_only_what_is_given_is_written() -> None:
    assert files.resolv_conf(pb.DNSConfig(options=["ndots:1"])) == b"options ndots:1\n"


def test_without_a_request_it_is_the_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = tmp_path / "resolv.conf"
    monkeypatch.setattr(files, "HOST_RESOLV_CONF", str(host))
    assert files.resolv_conf(pb.DNSConfig()) == b""
    host.write_bytes(b"nameserver 192.0.2.1\n# kept\n")
    assert files.resolv_conf(pb.DNSConfig()) == b"nameserver 192.0.2.1\n# kept\n"


def test_files_can_be_read_by_every_user(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        files.write_files(str(tmp_path), dns=pb.DNSConfig(servers=["1.1.1.1"]), hostname="web-0")
    finally:
        os.umask(old)
    assert {path.name for path in tmp_path.iterdir()} == {"resolv.conf", "hostname", ".containerenv"}
    assert (tmp_path / "hostname").read_text() == "web-0\n"
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o644 for path in tmp_path.iterdir())


@pytest.mark.root
def test_shared_memory(tmp_path: Path) -> None:
    path = str(tmp_path / "shm")
    files.mount_shm(path, size=1 << 20)
    try:
        assert os.path.ismount(path)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o1777
        facts = os.statvfs(path)
        assert facts.f_frsize * facts.f_blocks == 1 << 20
        assert facts.f_flag & os.ST_NOEXEC
        assert facts.f_flag & os.ST_NOSUID
        assert facts.f_flag & os.ST_NODEV
    finally:
        files.unmount_shm(path)
    assert not os.path.ismount(path)
    files.unmount_shm(path)


def test_unmounting_what_was_never_made(tmp_path: Path) -> None:
    missing = str(tmp_path / "shm")
    files.unmount_shm(missing)
    assert not os.path.exists(missing)


def test_the_size_of_shared_memory() -> None:
    assert shm_size({}) == DEFAULT_SHM_SIZE
    assert shm_size({"io.kubernetes.cri-o.ShmSize": "8Mi"}) == 8 << 20
    assert shm_size({"shm-size.crio.io": "1M", "io.kubernetes.cri-o.ShmSize": "8Mi"}) == 1 << 20
    for text in ("", "some", "12"):
        with pytest.raises(InvalidArgument, match="shm-size"):
            shm_size({"shm-size.crio.io": text})


@pytest.mark.root
def test_a_user_namespaces_root_passes_to_its_own_directory(tmp_path: Path) -> None:
    state, own = tmp_path / "state", tmp_path / "state" / "own"
    own.mkdir(parents=True, mode=0o700)
    state.chmod(0o700)
    let_in([str(state), str(own)], 1_000_000)
    assert state.stat().st_mode & 0o777 == 0o711
    assert (own.stat().st_mode & 0o777, own.stat().st_gid) == (0o710, 1_000_000)
