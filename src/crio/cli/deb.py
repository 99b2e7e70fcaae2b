"""`./dev deb [DIR]`: the Debian package crio_VERSION_ARCH.deb, for Debian 12 and 13 and Ubuntu 24.04 alike.

    python -m crio.cli.deb [--wheels DIR] [--keep] [DIR]

It brings its Python packages along, with the compiled parts for each supported version of Python side by side in one
directory, so that one package fits all of them; only the interpreter is the distribution's. Needs dpkg-deb, a
/usr/bin/python3 of a supported version to print manuals with, and pip with an index (or --wheels).
"""

from __future__ import annotations

import argparse
import glob
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from crio import __version__
from crio.base.errors import CrioError, FailedPrecondition
from crio.cli import install
from crio.cli.install import SOURCE, File, Layout

PYTHONS = ("3.11", "3.12", "3.13")
"""Versions of Python whose compiled parts are in the package."""
_PLATFORMS = {"amd64": "x86_64", "arm64": "aarch64"}
_COMPRESSION = "zstd"
_CNI = "10-crio-bridge.conflist"
_SHARED_CNI = f"/usr/share/crio/{_CNI}"


class Control(NamedTuple):
    """What dpkg is told of the package."""

    version: str
    architecture: str
    kibibytes: int

    def text(self) -> str:
        return f"""\
Package: crio
Version: {self.version}
Architecture: {self.architecture}
Maintainer: CRI-O in Python <crio@localhost>
Installed-Size: {self.kibibytes}
Section: admin
Priority: optional
Depends: python3 (>= {PYTHONS[0]}), python3 (<< 3.{int(PYTHONS[-1].split(".")[1]) + 1}), crun (>= 1.8) | runc (>= 1.1)
Recommends: containernetworking-plugins, nftables | iptables, init-system-helpers
Suggests: criu, cri-tools
Conflicts: cri-o
Replaces: cri-o
Provides: cri-o
Description: OCI container runtime for Kubernetes (CRI-O in Python)
 Serves the Kubernetes Container Runtime Interface over any OCI runtime, with
 its own container monitor, containers/storage-compatible image storage, CNI
 networking and streaming. Configuration, socket, units and metrics have the
 names and forms of CRI-O.
"""


_SYSTEMD = """\
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || true
fi
"""

_POSTINST = f"""\
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
/usr/lib/crio/bin/python -m compileall -q /usr/lib/crio/site-packages >/dev/null 2>&1 || true
mkdir -p /var/lib/crio /etc/crio/keys
mkdir -p -m 0700 /var/log/crio/pods
# A network of the node's own must not get a rival.
if [ -z "$2" ] && [ -z "$(ls /etc/cni/net.d/*.conf /etc/cni/net.d/*.conflist /etc/cni/net.d/*.json 2>/dev/null)" ]; then
    mkdir -p /etc/cni/net.d
    cp {_SHARED_CNI} /etc/cni/net.d/{_CNI}
fi
if command -v deb-systemd-helper >/dev/null; then
    deb-systemd-helper unmask crio.service >/dev/null || true
    if deb-systemd-helper --quiet was-enabled crio.service; then
        deb-systemd-helper enable crio.service >/dev/null || true
    else
        deb-systemd-helper update-state crio.service >/dev/null || true
    fi
fi
if [ -d /run/systemd/system ]; then
    systemd-tmpfiles --create crio.conf >/dev/null 2>&1 || true
fi
{_SYSTEMD}\
# A new version takes over the pods of the old one; a first one is started by the administrator, when the node is ready.
if [ -n "$2" ] && [ -d /run/systemd/system ]; then
    systemctl try-restart crio.service >/dev/null 2>&1 || true
fi
"""

_PRERM = """\
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl stop crio.service >/dev/null 2>&1 || true
fi
find /usr/lib/crio -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
"""

_POSTRM = """\
#!/bin/sh
set -e
if [ "$1" = remove ] && command -v deb-systemd-helper >/dev/null; then
    deb-systemd-helper mask crio.service >/dev/null || true
fi
if [ "$1" = purge ]; then
    if command -v deb-systemd-helper >/dev/null; then
        deb-systemd-helper purge crio.service >/dev/null || true
        deb-systemd-helper unmask crio.service >/dev/null || true
    fi
    if [ "$(sha256sum /etc/cni/net.d/@CNI@ 2>/dev/null | cut -d' ' -f1)" = @SHA256@ ]; then
        rm -f /etc/cni/net.d/@CNI@
    fi
    rm -rf /var/lib/crio /var/log/crio
    rmdir /etc/crio/keys /etc/crio/crio.conf.d /etc/crio 2>/dev/null || true
fi
@SYSTEMD@"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./dev deb", description="Make the Debian package.")
    parser.add_argument("directory", nargs="?", default=os.path.join(SOURCE, "dist"), help="where it goes (dist/)")
    parser.add_argument("--wheels", default="", help="take Python packages from this directory, without a network")
    parser.add_argument("--keep", default="", help="leave the unpacked tree here")
    given = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="crio-deb-") as scratch:
            path = build(given.directory, given.keep or os.path.join(scratch, "tree"), given.wheels)
    except CrioError as error:
        print(f"deb: {error.message}", file=sys.stderr)
        return 1
    print(path)
    return 0


def build(directory: str, tree: str, wheels: str = "") -> str:
    """Make the package in `directory`, laying it out in `tree`; its path. Raises CrioError or OSError."""
    for program in ("dpkg-deb", "/usr/bin/python3"):
        if shutil.which(program) is None:
            raise FailedPrecondition(f"cannot make the package: there is no {program}; make it on Debian or Ubuntu")
    architecture = install.call(["dpkg", "--print-architecture"]).strip()
    if architecture not in _PLATFORMS:
        raise FailedPrecondition(f"cannot make the package for {architecture}: there are {', '.join(_PLATFORMS)} only")
    layout = Layout("/usr", tree)
    _make_environment(layout, architecture, wheels)
    files = [file for file in install.files(layout) if _CNI not in file.path and "/sysconfig/" not in file.path]
    with open(os.path.join(SOURCE, "contrib", "cni", _CNI), encoding="utf-8") as source:
        network = File(_SHARED_CNI, source.read())
    for file in [*files, network, *_documents()]:
        install.write(layout, file)
    for path, names, _ in os.walk(tree):
        if "__pycache__" in names:
            shutil.rmtree(os.path.join(path, "__pycache__"))
            names.remove("__pycache__")
    control = Control(version(), architecture, sum(_size(path) for path in _paths(tree)) // 1024)
    conffiles = [file.path for file in files if file.administrators]
    _write_control(tree, control, conffiles, hashlib.sha256(network.content.encode()).hexdigest())
    os.makedirs(directory, exist_ok=True)
    package = os.path.join(directory, f"crio_{control.version}_{architecture}.deb")
    install.call(["dpkg-deb", "--root-owner-group", f"-Z{_COMPRESSION}", "--build", tree, package])
    return package


def version() -> str:
    """The release, as Debian orders versions."""
    return __version__.replace("rc", "~rc").replace(".dev", "~dev")


def _make_environment(layout: Layout, architecture: str, wheels: str) -> None:
    """A virtual environment that every supported Python takes for its own."""
    target = layout.below(layout.environment)
    packages = os.path.join(target, "site-packages")
    os.makedirs(os.path.join(target, "bin"))
    os.symlink("/usr/bin/python3", os.path.join(target, "bin", "python"))
    with open(os.path.join(target, "pyvenv.cfg"), "w", encoding="utf-8") as file:
        file.write("home = /usr/bin\ninclude-system-site-packages = false\n")
    for python in PYTHONS:
        library = os.path.join(target, "lib", f"python{python}")
        os.makedirs(library)
        os.symlink("../../site-packages", os.path.join(library, "site-packages"))
    with tempfile.TemporaryDirectory(prefix="crio-wheels-") as scratch:
        pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
        index = ["--no-index", "--find-links", wheels] if wheels else []
        install.call([*pip, "wheel", *index, "--no-deps", "--wheel-dir", scratch, SOURCE])
        (wheel,) = glob.glob(f"{scratch}/crio-*.whl")
        machine = _PLATFORMS[architecture]
        platforms = [f"manylinux_2_{minor}_{machine}" for minor in (36, 35, 34, 31, 28, 17)]
        for python in PYTHONS:
            part = os.path.join(scratch, python)
            install.call(
                [
                    *(*pip, "install", *index, "--target", part, "--only-binary=:all:", "--no-compile"),
                    *("--python-version", python, "--implementation", "cp"),
                    *(f"--platform={name}" for name in (*platforms, f"manylinux2014_{machine}", "any")),
                    wheel,
                ]
            )
            shutil.rmtree(os.path.join(part, "bin"), ignore_errors=True)
            # Compiled parts have the version in their names; everything else is the same for all of them.
            shutil.copytree(part, packages, dirs_exist_ok=True)


def _documents() -> Iterator[File]:
    with open(os.path.join(SOURCE, "LICENSE"), encoding="utf-8") as file:
        yield File("/usr/share/doc/crio/copyright", file.read())
    with open(os.path.join(SOURCE, "CHANGELOG.md"), encoding="utf-8") as file:
        yield File("/usr/share/doc/crio/changelog", file.read())


def _write_control(tree: str, control: Control, conffiles: Sequence[str], network_digest: str) -> None:
    postrm = _POSTRM.replace("@CNI@", _CNI).replace("@SHA256@", network_digest).replace("@SYSTEMD@", _SYSTEMD)
    sums = "".join(f"{_md5(path)}  {os.path.relpath(path, tree)}\n" for path in _paths(tree))
    os.makedirs(os.path.join(tree, "DEBIAN"))
    for name, text, mode in (
        ("control", control.text(), 0o644),
        ("conffiles", "".join(f"{path}\n" for path in conffiles), 0o644),
        ("md5sums", sums, 0o644),
        ("postinst", _POSTINST, 0o755),
        ("prerm", _PRERM, 0o755),
        ("postrm", postrm, 0o755),
    ):
        path = os.path.join(tree, "DEBIAN", name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)


def _paths(tree: str) -> Iterator[str]:
    """All regular files, in order."""
    for directory, names, files in os.walk(tree):
        names.sort()
        for name in sorted(files):
            path = os.path.join(directory, name)
            if not os.path.islink(path):
                yield path


def _size(path: str) -> int:
    return os.lstat(path).st_size


def _md5(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
