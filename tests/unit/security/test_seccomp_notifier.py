from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgroup_hybrid import crun_cgroups
from crio.api.runtime.v1 import api_pb2 as pb
from crio.config.tables.handler import RuntimeHandler
from crio.container.specgen.build import build_spec
from crio.container.specgen.input import HandlerFacts, SandboxFacts
from crio.linux.cgroup import detect
from crio.security.seccomp_notifier import SeccompNotifier
from open_files import open_files
from spec_input import PROFILES, container_config, host, make_input, remove_cgroups, run


@pytest.fixture
def place() -> Iterator[Path]:
    path = Path(f"/dev/shm/notifier-{uuid.uuid4().hex[:8]}")
    path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.mark.root
@pytest.mark.parametrize("runtime", [name for name in ("crun", "runc") if shutil.which(name)])
async def test_forbidden_calls_of_a_container_are_counted(place: Path, runtime: str) -> None:
    config = container_config(command=["/bin/sh", "-c", "unshare -m true; chroot / true; echo end"])
    config.linux.security_context.seccomp.profile_type = pb.SecurityProfile.RuntimeDefault
    config.linux.security_context.no_new_privs = True
    given = make_input(
        place,
        config=config,
        host=host(),
        seccomp=PROFILES,
        sandbox=SandboxFacts(id="a", name="p", cgroup_parent="/crio-spec-test"),
        handler=HandlerFacts(settings=RuntimeHandler(allowed_annotations=("seccomp-notifier-action.crio.io",))),
        seccomp_notifier_directory=str(place / "notify"),
    )
    given.sandbox_config.annotations["seccomp-notifier-action.crio.io"] = "stop"
    plan = build_spec(given)
    assert plan.seccomp_listener == f"{place}/notify/{given.id[:32]}"
    seen: list[str] = []
    quiet = asyncio.Event()
    notifier = SeccompNotifier(plan.seccomp_listener, on_call=seen.append, on_quiet=quiet.set, quiet=0.1)
    notifier.start()
    try:
        with crun_cgroups():
            done = await asyncio.to_thread(run, plan, runtime, place)
            remove_cgroups(detect().roots())
        assert done.stdout == "end\n", done.stderr
        assert "not implemented" in done.stderr
        await asyncio.wait_for(quiet.wait(), 60)
        assert {"unshare", "chroot"} <= set(seen)
        assert notifier.calls["unshare"] == 1
        assert "unshare (1x)" in notifier.summary()
    finally:
        notifier.close()
    assert not os.path.exists(plan.seccomp_listener)


async def test_what_is_no_descriptor_is_closed(place: Path) -> None:
    path = str(place / "socket")
    notifier = SeccompNotifier(path, on_call=lambda _: None, on_quiet=lambda: None)
    notifier.start()
    before = open_files()
    try:
        for document in (
            b"no json",
            json.dumps({"fds": ["other"]}).encode(),
            b'{"fds": ["seccompFd", "seccompFd"]}',
            b"",
        ):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                client.connect(path)
                reader, writer = os.pipe()
                if document:
                    socket.send_fds(client, [document], [reader, writer])
                os.close(reader)
                os.close(writer)
            for _ in range(5):
                await asyncio.sleep(0.01)
        async with asyncio.timeout(60):
            while open_files() > before:
                await asyncio.sleep(0.01)
        assert open_files() == before
        assert os.stat(path).st_mode & 0o777 == 0o600
    finally:
        notifier.close()
