from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from crio.base.errors import InvalidArgument
from crio.image.assemble import assemble_busybox_image, busybox_applets
from crio.image.documents import parse_config, parse_document
from crio.spec.oci_image import Manifest

BUSYBOX = "/bin/busybox"


def test_applets_are_those_that_the_program_tells() -> None:
    told = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    assert busybox_applets(Path(BUSYBOX).read_bytes()) == told


def test_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="busybox-static"):
        assemble_busybox_image(str(tmp_path / "image"), "/bin/true")


@pytest.mark.root
def test_the_image_runs(tmp_path: Path) -> None:
    layout = assemble_busybox_image(str(tmp_path / "a"), BUSYBOX)
    again = assemble_busybox_image(str(tmp_path / "b"), BUSYBOX)
    index = json.loads(Path(layout, "index.json").read_text())
    assert json.loads(Path(again, "index.json").read_text()) == index
    digest = index["manifests"][0]["digest"]
    manifest = parse_document(Path(layout, "blobs", *digest.split(":")).read_bytes(), "", "it")
    assert isinstance(manifest, Manifest)
    config = parse_config(Path(layout, "blobs", *manifest.config.digest.split(":")).read_bytes(), "it")
    assert config.cmd == ("sh",)
    root = tmp_path / "root"
    subprocess.run(["umoci", "unpack", "--image", f"{layout}:localhost/busybox:latest", root], check=True,
                   capture_output=True)  # fmt: skip
    script = "test -d /tmp && grep -q ^root: /etc/passwd && /usr/bin/env echo works"
    done = subprocess.run(["chroot", root / "rootfs", "/bin/sh", "-c", script], capture_output=True, check=True)
    assert done.stdout == b"works\n"
