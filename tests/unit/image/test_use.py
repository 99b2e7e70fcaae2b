"""The daemon's own part of the decision: what needs no worker, what is remembered, and what makes it forget."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crio.image.errors import SignatureValidationFailed
from crio.image.records import ImageInfo
from crio.image.trust.policy import Policies
from crio.image.use import UseCheck
from crio.image.worker.messages import Settings, Verify
from crio.spec import oci_image
from crio.wire import reference

NAME, OTHER = reference.parse("a.example/app:1"), reference.parse("b.example/app:1")
ACCEPT: dict[str, Any] = {"type": "insecureAcceptAnything"}
REJECT: dict[str, Any] = {"type": "reject"}


class Worker:
    """Notes what it is asked, and finds everything good."""

    def __init__(self) -> None:
        self.asked: list[Verify] = []

    async def verify(self, request: Verify) -> None:
        self.asked.append(request)


def image(*, encrypted: bool = False) -> ImageInfo:
    kind = oci_image.LAYER_GZIP + ("+encrypted" if encrypted else "")
    layers = [{"mediaType": kind, "digest": "sha256:" + "1" * 64, "size": 1}]
    config = {"mediaType": oci_image.CONFIG, "digest": "sha256:" + "2" * 64, "size": 1}
    manifest = json.dumps({"schemaVersion": 2, "config": config, "layers": layers}).encode()
    return ImageInfo(
        id="3" * 64, names=(str(NAME),), repo_digests=(), digest="", size=1, created="", pinned=False,
        read=lambda key: manifest, config_key=lambda: "config",
    )  # fmt: skip


class Bed:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.key = root / "key.gpg"
        self.keys = root / "keys"
        self.keys.mkdir()
        self.worker = Worker()
        settings = Settings(decryption_keys_path=str(self.keys))
        self.use = UseCheck(self.worker, Policies(str(root / "policy.json"), str(root)), settings)
        self.write([ACCEPT])

    def write(self, default: list[dict[str, Any]], **scopes: list[dict[str, Any]]) -> None:
        docker = {scope.replace("_", "."): value for scope, value in scopes.items()}
        document = {"default": default, "transports": {"docker": docker}}
        (self.root / "policy.json").write_text(json.dumps(document))

    def signed(self) -> list[dict[str, Any]]:
        return [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(self.key)}]


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


async def test_what_needs_no_worker(bed: Bed) -> None:
    await bed.use.check(image(), [NAME], "")
    await bed.use.check(image(), [], "")
    bed.write([REJECT], a_example=[ACCEPT])
    await bed.use.check(image(), [NAME], "")
    await bed.use.check(image(), [OTHER, NAME], "")
    for names in ([OTHER], []):
        with pytest.raises(SignatureValidationFailed, match="rejects it"):
            await bed.use.check(image(), names, "")
    assert bed.worker.asked == []


async def test_signatures_are_looked_at_once(bed: Bed) -> None:
    bed.write(bed.signed())
    one = image()
    for _ in range(2):
        await bed.use.check(one, [NAME, OTHER], "ns")
    (asked,) = bed.worker.asked
    assert (asked.image_id, asked.names, asked.namespace) == (one.id, (str(NAME), str(OTHER)), "ns")
    assert asked.settings.decryption_keys_path == str(bed.keys)


async def test_what_makes_it_look_again(bed: Bed) -> None:
    bed.write(bed.signed())
    one = image()

    async def asked() -> bool:
        before = len(bed.worker.asked)
        await bed.use.check(one, [NAME], "")
        return len(bed.worker.asked) > before

    assert await asked()
    assert not await asked()
    bed.key.write_text("a key")
    assert await asked()
    bed.write(bed.signed(), c_example=[REJECT])
    assert await asked()
    assert not await asked()
    one = image()
    assert await asked()
    (bed.root / "ns.json").write_text(json.dumps({"default": bed.signed()}))
    await bed.use.check(one, [NAME], "ns")
    assert bed.worker.asked[-1].namespace == "ns"


async def test_keys_of_encrypted_images(bed: Bed) -> None:
    secret = image(encrypted=True)
    for _ in range(2):
        await bed.use.check(secret, [NAME], "")
    assert len(bed.worker.asked) == 1
    (bed.keys / "node.pem").write_text("a key")
    await bed.use.check(secret, [NAME], "")
    assert len(bed.worker.asked) == 2
    (bed.keys / "node.pem").unlink()
    await bed.use.check(secret, [], "")
    assert bed.worker.asked[-1].names == ()


async def test_a_node_without_a_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crio.image.trust.policy.DEFAULT_PATH", str(tmp_path / "absent.json"))
    worker = Worker()
    use = UseCheck(worker, Policies("", ""), Settings())
    await use.check(image(), [NAME], "ns")
    assert worker.asked == []
    await use.check(image(encrypted=True), [NAME], "ns")
    assert len(worker.asked) == 1


@pytest.mark.parametrize("module", ["crio.daemon.wiring", "crio.image.worker.program"])
def test_no_cryptography_is_loaded_before_it_is_needed(module: str) -> None:
    libraries = ("cryptography", "pysequoia", "yaml")
    program = f"import sys, {module}; print([name for name in {libraries} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
