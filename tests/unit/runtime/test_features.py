"""What runtimes say of themselves, and what is made of it."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from crio.runtime.features import Features, known_of_crun, parse_features

RUNC = b"""{"ociVersionMin":"1.0.0","ociVersionMax":"1.2.0","mountOptions":["bind","ro","rro","rbind"],
"linux":{"namespaces":["cgroup"],"mountExtensions":{"idmap":{"enabled":true}}},"annotations":{"x":"y"}}"""


@pytest.mark.parametrize(
    ("text", "features"),
    [
        (RUNC, Features(recursive_read_only=True, idmapped_mounts=True)),
        (b"{}", Features()),
        (b'{"mountOptions":["ro"],"linux":{}}', Features()),
        (b'{"linux":{"mountExtensions":{"idmap":{"enabled":false}}}}', Features()),
        (b'{"linux":{"namespaces":["mount","user"]}}', Features(user_namespaces=True)),
        (b"", Features()),
        (b"unknown command features", Features()),
        (b'{"mountOptions":"rro"}', Features()),
        (b"[]", Features()),
        (b"\xff", Features()),
        (b'{"mountOptions":["\xff"]}', Features()),
    ],
)
def test_parse(text: bytes, features: Features) -> None:
    assert parse_features(text) == features


@pytest.mark.parametrize(
    ("version", "recursive"),
    [
        (b"crun version 1.8.1\ncommit: f8a096b\nspec: 1.0.0\n+SYSTEMD +YAJL\n", True),
        (b"crun version 1.4\n", True),
        (b"crun version 1.3\n", False),
        (b"crun version 0.17\n", False),
        (b"spec: 1.4\n", False),
        (b"", False),
    ],
)
def test_an_old_crun_is_known_by_its_version(version: bytes, recursive: bool) -> None:
    assert known_of_crun(version) == Features(
        recursive_read_only=recursive, user_namespaces=version.startswith(b"crun"), seccomp_program=True
    )


def test_a_real_runtimes_answer() -> None:
    runc = shutil.which("runc")
    assert runc is not None
    done = subprocess.run([runc, "features"], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("this runc is too old to tell its features")
    assert parse_features(done.stdout).recursive_read_only == (b'"rro"' in done.stdout)
