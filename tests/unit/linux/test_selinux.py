from __future__ import annotations

import os
from pathlib import Path

import pytest

from crio.linux import selinux

LABEL = "system_u:object_r:container_file_t:s0:c1,c2"


def test_no_policy_means_disabled() -> None:
    assert selinux.is_enabled() == (os.path.exists("/sys/fs/selinux/policy") and bool(selinux.process_label()))


def test_the_policy_is_asked_where_there_is_one() -> None:
    assert selinux.knows("no_such_u:no_such_r:no_such_t:s0") == (not os.path.exists("/sys/fs/selinux/context"))


@pytest.mark.root
def test_file_labels() -> None:
    path = f"/dev/shm/selinux-{os.getpid()}"
    link = f"{path}-link"
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
    try:
        os.symlink(path, link)
        before = selinux.file_label(link, follow=False)
        selinux.set_file_label(path, LABEL)
        assert selinux.file_label(path) == selinux.file_label(fd) == selinux.file_label(link) == LABEL
        assert selinux.file_label(link, follow=False) == before
    finally:
        os.close(fd)
        os.unlink(link)
        os.unlink(path)


def test_policy_files(tmp_path: Path) -> None:
    config = tmp_path / "config"
    assert selinux.policy_name(str(config)) == "targeted"
    assert selinux.container_contexts(str(config)) == {}
    config.write_text("# c\nSELINUX=enforcing\nSELINUXTYPE=mls\n")
    contexts = tmp_path / "mls/contexts"
    contexts.mkdir(parents=True)
    (contexts / "lxc_contexts").write_text('process = "u:r:c_t:s0"\n#x="y"\nfile="u:object_r:f_t:s0"\n')
    assert selinux.policy_name(str(config)) == "mls"
    assert selinux.container_contexts(str(config)) == {"process": "u:r:c_t:s0", "file": "u:object_r:f_t:s0"}
