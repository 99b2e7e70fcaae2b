from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from crio.cli.crioctl import main
from fake_cri import FakeCri

POD = "1a" * 32
OLD_POD = "1b" * 32
WEB = "2c" * 32
SIDECAR = "2d" * 32
DONE = "3e" * 32


class Result(NamedTuple):
    code: int
    out: str
    err: str


Crioctl = Callable[..., Result]


@pytest.fixture
def cri(tmp_path: Path) -> Iterator[FakeCri]:
    """A runtime without anything in it."""
    fake = FakeCri(str(tmp_path / "cri.sock"))
    yield fake
    if fake._thread.ident is not None:
        fake.stop()


@pytest.fixture
def crioctl(
    cri: FakeCri, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Crioctl:
    """Runs crioctl on the fake runtime, which starts with the first call."""
    for name in (
        *("CONTAINER_RUNTIME_ENDPOINT", "IMAGE_SERVICE_ENDPOINT", "CRI_CONFIG_FILE"),
        *("CRICTL_CREDS", "CRICTL_AUTH", "CRICTL_PULL_TIMEOUT"),
    ):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Result:
        if cri._thread.ident is None:
            cri.start()
        code = main(["--runtime-endpoint", cri.endpoint, *arguments])
        return Result(code, *capfd.readouterr())

    return run


@pytest.fixture
def node(cri: FakeCri) -> FakeCri:
    """Two pods, of which one has ended, and three containers."""
    labels = {"io.kubernetes.pod.name": "shop", "io.kubernetes.pod.namespace": "prod"}
    cri.add_pod(POD, "shop", namespace="prod", labels={"app": "shop"}, runtime_handler="crun")
    cri.add_pod(OLD_POD, "job", state=1, attempt=2, created_at=1_700_000_000 * 10**9)
    cri.add_container(WEB, POD, "web", labels=labels, image_ref="sha256:" + "ab" * 32)
    cri.add_container(SIDECAR, POD, "log", labels=labels, attempt=1, image="sha256:" + "ab" * 32)
    cri.add_container(DONE, OLD_POD, "once", state=2, exit_code=3, reason="Error", finished_at=1_700_000_100 * 10**9)
    return cri
