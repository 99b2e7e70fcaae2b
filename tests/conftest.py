"""What holds for the whole suite: it leaves the machine as it found it."""

from __future__ import annotations

import os
import re
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import HealthCheck, settings

from crio.cli.demo.leftovers import Snapshot, new_things

# A busy machine is no fault of what is tested. The same examples each time: what a change breaks is seen with this
# change, not by chance with another one. To look for more, use --hypothesis-profile=search.
_FINE = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)
settings.register_profile("suite", deadline=None, derandomize=True, suppress_health_check=_FINE)
settings.register_profile("search", deadline=None, max_examples=5000, suppress_health_check=_FINE)
settings.load_profile("suite")

SHARED_MACHINE = "CRIO_TEST_SHARED_MACHINE"
"""Set it where other work goes on beside the tests: what that leaves is not the suite's."""

_OURS = (
    "crio",
    "conmon",
    "crun",
    "runc",
    "containers",
    "netns",
    "ipcns",
    "utsns",
    "cni",
    "veth",
    "pytest",
    "/dev/shm/",
)
_PATIENCE = 60.0
_FILES = 16384
_OF_A_POD = re.compile(r"[0-9a-f]{12,}")
"""Plug-ins keep their tables and chains for the next pod; a rule or chain for one pod has its id, or a hash of it."""


_SURROUNDINGS = re.compile(
    r"LC_\w+|LANGUAGE|TZ|(?i:\w+_proxy)|CONTAINERS?_\w+|STORAGE_\w+|REGISTRY_\w+|CRIO_FAILPOINTS|NOTIFY_SOCKET|"
    r"(?:WATCHDOG|LISTEN|XDG|DBUS)_\w+"
)
"""Variables that would make of a test another one."""


@pytest.fixture(scope="session", autouse=True)
def _surroundings_are_plain() -> None:
    """What the suite is started with is handed on to what it tests: variables, and the mask of files' modes."""
    for name in list(os.environ):
        if _SURROUNDINGS.fullmatch(name):
            del os.environ[name]
    time.tzset()
    os.environ["LC_ALL"] = "C.UTF-8"
    os.environ.setdefault("HOME", str(Path.home()))
    os.umask(0o022)


@pytest.fixture(scope="session", autouse=True)
def _files_may_be_open() -> None:
    """As a daemon may: some tests open thousands, where a login shell may often have no more than 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _FILES:
        most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@pytest.fixture(scope="session", autouse=True)
def _signals_are_not_ignored() -> None:
    """A suite that is started in the background, or by nohup, would hand its ignored signals on to what it tests."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # One that is ended by timeout(1) cleans up as one that is interrupted.
    signal.signal(signal.SIGTERM, _Ending.signalled)


class _Ending:
    """An interrupt in the midst of a clean-up would leave what is still to be cleaned up; a second one may."""

    cleaning = False
    wanted = False

    @classmethod
    def signalled(cls, number: int, frame: FrameType | None) -> None:
        if not cls.cleaning or cls.wanted:
            raise KeyboardInterrupt
        cls.wanted = True


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """SIGTERM is put off until all is cleaned up."""
    _Ending.cleaning = True
    try:
        yield
    finally:
        _Ending.cleaning = False
        if _Ending.wanted:
            raise KeyboardInterrupt


@pytest.fixture(scope="session", autouse=True)
def _machine_is_left_as_it_was() -> Iterator[None]:
    """Mounts, namespaces, links, control groups, processes, sockets and packet rules, before and after all tests."""
    if os.environ.get(SHARED_MACHINE):
        yield
        return
    before = Snapshot.take()
    yield
    end = time.monotonic() + _PATIENCE
    while left := _left(before):
        if time.monotonic() > end:
            pytest.fail("the tests have left on the machine:\n" + "\n".join(left))
        time.sleep(0.2)


def _left(before: Snapshot) -> list[str]:
    found = new_things(before, Snapshot.take())
    return [f"{kind}: {item}" for kind, items in found.items() for item in items if _is_left(kind, item)]


def _is_left(kind: str, item: str) -> bool:
    if kind == "rules":
        return _OF_A_POD.search(item) is not None
    if any(mark in item for mark in _OURS):
        return True
    if kind == "cgroups":
        return not any(place in item for place in _places_of_our_starter())
    return kind in ("mounts", "namespaces", "links")


def _places_of_our_starter() -> set[str]:
    """Where the suite's own control groups lie: who made them for the suite makes others there for others."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    parents = {os.path.dirname(line.split(":", 2)[2]) for line in lines}
    return {f"{parent}/" for parent in parents if parent != "/"}
