from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crio.base.errors import InvalidArgument, ResourceExhausted
from crio.security.seccomp import MAX_PROFILE, MissingProfile, Profile, SeccompProfiles, Target, parse

X86 = Target("x86_64")
NO_CAPS: frozenset[str] = frozenset()


def rules(profile: Profile, capabilities: frozenset[str] = NO_CAPS, target: Target = X86) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(profile.compile(capabilities, target))
    return decoded


def actions(document: dict[str, Any], name: str) -> list[tuple[str, int | None]]:
    return [(rule["action"], rule.get("errnoRet")) for rule in document["syscalls"] if name in rule["names"]]


@pytest.fixture(scope="module")
def built_in() -> Profile:
    return SeccompProfiles().built_in()


def test_unknown_calls_do_not_exist(built_in: Profile) -> None:
    document = rules(built_in)
    assert (document["defaultAction"], document["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 38)
    assert actions(document, "io_uring_setup") == []


def test_ordinary_calls_are_allowed(built_in: Profile) -> None:
    document = rules(built_in)
    for name in ("read", "openat2", "execve", "futex", "statx", "close_range", "fchmodat2", "epoll_pwait2"):
        assert actions(document, name) == [("SCMP_ACT_ALLOW", None)]


def test_new_namespaces_need_sys_admin(built_in: Profile) -> None:
    document = rules(built_in)
    assert actions(document, "unshare") == [("SCMP_ACT_ERRNO", 1)]
    assert actions(document, "clone3") == [("SCMP_ACT_ERRNO", 38)]
    clone = [rule for rule in document["syscalls"] if rule["names"] == ["clone"]]
    allowed = [rule for rule in clone if rule["action"] == "SCMP_ACT_ALLOW"]
    assert allowed[0]["args"] == [{"index": 0, "value": 0x7E020000, "op": "SCMP_CMP_MASKED_EQ"}]
    assert len(clone) == 8
    admin = rules(built_in, frozenset({"CAP_SYS_ADMIN"}))
    for name in ("unshare", "clone", "clone3", "mount", "setns"):
        assert actions(admin, name) == [("SCMP_ACT_ALLOW", None)]


@pytest.mark.parametrize(
    ("capability", "name"),
    [
        ("CAP_SYS_CHROOT", "chroot"),
        ("CAP_SYS_MODULE", "init_module"),
        ("CAP_SYS_TIME", "settimeofday"),
        ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
        ("CAP_BPF", "bpf"),
        ("CAP_PERFMON", "perf_event_open"),
    ],
)
def test_calls_by_capability(built_in: Profile, capability: str, name: str) -> None:
    assert actions(rules(built_in), name) == [("SCMP_ACT_ERRNO", 1)]
    assert actions(rules(built_in, frozenset({capability})), name) == [("SCMP_ACT_ALLOW", None)]


def test_rules_by_architecture(built_in: Profile) -> None:
    assert rules(built_in)["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    assert actions(rules(built_in), "arch_prctl") == [("SCMP_ACT_ALLOW", None)]
    arm = msgspec.to_builtins(built_in.resolve(NO_CAPS, Target("aarch64")))
    assert arm["architectures"] == ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    assert actions(arm, "arch_prctl") == []
    s390 = msgspec.to_builtins(built_in.resolve(NO_CAPS, Target("s390x")))
    assert {rule["args"][0]["index"] for rule in s390["syscalls"] if rule["names"] == ["clone"]} == {1}


def test_absent_secondary_architectures_are_left_out(built_in: Profile) -> None:
    resolved = built_in.resolve(NO_CAPS, Target("x86_64", frozenset({"SCMP_ARCH_X32"})))
    assert resolved.architectures == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]


def test_compiled_once_for_each_set_of_capabilities_that_matters(built_in: Profile) -> None:
    first = built_in.compile(["CAP_CHOWN", "CAP_SYS_TIME"], X86)
    assert built_in.compile(["CAP_KILL", "CAP_SYS_TIME"], X86) is first
    assert built_in.compile(["CAP_KILL"], X86) is not first


def test_program_is_deferred() -> None:
    waiting: list[Callable[[], None]] = []
    profile = SeccompProfiles(defer=waiting.append).built_in()
    assert profile.program([], X86) == ""
    assert profile.program([], X86) == ""
    assert len(waiting) == 1
    waiting[0]()
    assert len(profile.program([], X86)) > 4000


def test_no_program_for_flags() -> None:
    profile = parse(b'{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"]}', "test")
    assert profile.program([], X86) == ""


def test_notified_profile_reports_what_would_fail(built_in: Profile) -> None:
    document = msgspec.json.decode(built_in.compile_notified([], X86, "/run/socket", "id"))
    assert document["listenerPath"] == "/run/socket"
    assert document["listenerMetadata"] == "id"
    assert document["defaultAction"] == "SCMP_ACT_ERRNO"
    assert actions(document, "unshare") == [("SCMP_ACT_NOTIFY", None)]
    assert actions(rules(built_in), "unshare") == [("SCMP_ACT_ERRNO", 1)]


def profile_of(**fields: Any) -> bytes:
    return json.dumps({"defaultAction": "SCMP_ACT_ERRNO", **fields}).encode()


def test_docker_style_profile() -> None:
    data = profile_of(
        archMap=[{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": None}],
        syscalls=[
            {"name": "read", "action": "SCMP_ACT_ALLOW", "args": None, "comment": "x"},
            {"names": ["a"], "action": "SCMP_ACT_ERRNO", "errno": "ENOTSUP"},
            {"names": ["b"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["c"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.0"}},
        ],
    )
    document = rules(parse(data, "test"))
    assert document["architectures"] == ["SCMP_ARCH_X86_64"]
    assert actions(document, "read") == [("SCMP_ACT_ALLOW", None)]
    assert actions(document, "a") == [("SCMP_ACT_ERRNO", 95)]
    assert actions(document, "b") == [("SCMP_ACT_ALLOW", None)]
    assert actions(document, "c") == []


@pytest.mark.parametrize(
    "data",
    [
        b"no json",
        b"[]",
        b"{}",
        b'{"defaultAction": "\xff"}',
        profile_of(defaultAction="SCMP_ACT_SING"),
        profile_of(syscalls=[{"names": ["read"], "action": "ALLOW"}]),
        profile_of(syscalls=[{"action": "SCMP_ACT_ALLOW"}]),
        profile_of(
            syscalls=[{"names": ["a"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 9, "value": 1, "op": "X"}]}]
        ),
        profile_of(syscalls=[{"names": ["a"], "action": "SCMP_ACT_ERRNO", "errno": "ENOPE"}]),
        profile_of(syscalls=[{"names": ["a"], "action": "SCMP_ACT_ERRNO", "errno": "errorcode"}]),
        profile_of(syscalls=[{"names": ["a"], "action": "SCMP_ACT_ERRNO", "errno": "9" * 5000}]),
        profile_of(architectures=["SCMP_ARCH_X86"], archMap=[{"architecture": "SCMP_ARCH_X86_64"}]),
        profile_of(syscalls=[{"names": ["a"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "x"}}]),
    ],
)
def test_malformed_profiles_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match="seccomp profile /p"):
        parse(data, "/p")


def test_files_are_read_once_and_again_when_changed(tmp_path: Path) -> None:
    profiles = SeccompProfiles()
    path = tmp_path / "p.json"
    path.write_bytes(profile_of())
    first = profiles.from_file(str(path))
    assert profiles.from_file(str(path)) is first
    path.write_bytes(profile_of(syscalls=[{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]))
    assert profiles.from_file(str(path)) is not first


def test_missing_relative_and_huge_files(tmp_path: Path) -> None:
    profiles = SeccompProfiles()
    with pytest.raises(MissingProfile):
        profiles.from_file(str(tmp_path / "none.json"))
    with pytest.raises(InvalidArgument, match="not absolute"):
        profiles.from_file("p.json")
    with pytest.raises(InvalidArgument, match=f"{tmp_path}.*Is a directory"):
        profiles.from_file(str(tmp_path))
    with pytest.raises(InvalidArgument, match="null byte"):
        profiles.from_file("/p\0.json")
    huge = tmp_path / "huge.json"
    huge.touch()
    os.truncate(huge, MAX_PROFILE + 1)
    with pytest.raises(ResourceExhausted):
        profiles.from_file(str(huge))


def test_runtime_default_prefers_handler_then_configuration(tmp_path: Path) -> None:
    handler, configured = tmp_path / "h.json", tmp_path / "c.json"
    handler.write_bytes(profile_of())
    configured.write_bytes(profile_of())
    profiles = SeccompProfiles(str(configured))
    assert profiles.runtime_default(str(handler)).source == str(handler)
    assert profiles.runtime_default().source == str(configured)
    configured.unlink()
    assert profiles.runtime_default() is profiles.built_in()


def test_reload_refuses_a_bad_default(tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_bytes(b"{")
    profiles = SeccompProfiles()
    with pytest.raises(InvalidArgument):
        profiles.set_default(str(bad))
    assert profiles.runtime_default() is profiles.built_in()
