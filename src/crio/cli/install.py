"""`./dev install [PREFIX]`: programs, units, configuration, manuals and completions, from a checkout to their places.

    python -m crio.cli.install [--destdir DIR] [--wheels DIR] [PREFIX]
    python -m crio.cli.install --uninstall [--destdir DIR] [PREFIX]

The programs live in a virtual environment of their own below PREFIX/lib/crio. Files of an administrator (below /etc)
are never overwritten nor removed. With --destdir everything is laid out below that directory, as packages want it.
--wheels names a directory from which the Python packages are taken, for a machine without a network.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from crio.base.errors import CrioError, FailedPrecondition, NotFound
from crio.base.process import ProcessFailed, run

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
_TIMEOUT = 900.0
"""Seconds for one program; the download of packages may be slow."""

PROGRAMS = {"crio": "crio.cli.crio", "crioctl": "crio.cli.crioctl"}

# -I keeps PYTHON* variables and the working directory out of a daemon that runs as root.
_LAUNCHER = """#!{python} -I
import sys

from {module} import main

sys.exit(main())
"""


class Layout(NamedTuple):
    """Where things go. Paths are those of the machine that will run them; `below` adds the staging directory."""

    prefix: str
    destdir: str

    @property
    def environment(self) -> str:
        return f"{self.prefix}/lib/crio"

    @property
    def manifest(self) -> str:
        """The list of installed files, for removal."""
        return f"{self.environment}/installed-files"

    def below(self, path: str) -> str:
        return self.destdir + path


class File(NamedTuple):
    """One file to install. That of an administrator is left as it is if it exists."""

    path: str
    content: str
    mode: int = 0o644
    administrators: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./dev install", description="Install below a prefix.")
    parser.add_argument("prefix", nargs="?", default="/usr/local")
    parser.add_argument("--destdir", default="", help="lay everything out below this directory")
    parser.add_argument("--wheels", default="", help="take Python packages from this directory, without a network")
    parser.add_argument("--uninstall", action="store_true", help="remove what an earlier call has installed")
    given = parser.parse_args(arguments)
    layout = Layout(os.path.abspath(given.prefix).rstrip("/"), given.destdir.rstrip("/"))
    try:
        if given.uninstall:
            uninstall(layout)
        else:
            install(layout, given.wheels)
    except CrioError as error:
        print(f"install: {error.message}", file=sys.stderr)
        return 1
    return 0


def install(layout: Layout, wheels: str = "") -> None:
    """Install, or bring an earlier installation up to date. Raises CrioError or OSError."""
    if not os.path.exists(os.path.join(SOURCE, "pyproject.toml")):
        raise FailedPrecondition(f"cannot install: {SOURCE} is no checkout of the source")
    _make_environment(layout, wheels)
    installed = [file.path for file in files(layout) if write(layout, file) and not file.administrators]
    write(layout, File(layout.manifest, "".join(f"{path}\n" for path in installed)))
    print(f"installed below {layout.below(layout.prefix)}")
    if not layout.destdir:
        print("next: systemctl daemon-reload && systemctl enable --now crio")


def uninstall(layout: Layout) -> None:
    """Remove the programs and everything that came with them; configuration stays. Raises NotFound."""
    try:
        with open(layout.below(layout.manifest), encoding="utf-8") as file:
            paths = file.read().splitlines()
    except FileNotFoundError:
        raise NotFound(f"cannot uninstall: nothing is installed below {layout.below(layout.prefix)}") from None
    for path in paths:
        if os.path.lexists(layout.below(path)):
            os.unlink(layout.below(path))
    shutil.rmtree(layout.below(layout.environment))
    print(f"removed from {layout.below(layout.prefix)}; configuration below /etc and data below /var are left")


def _make_environment(layout: Layout, wheels: str) -> None:
    target = layout.below(layout.environment)
    python = os.path.join(target, "bin", "python")
    if not os.path.exists(python):
        call([getattr(sys, "_base_executable", sys.executable), "-m", "venv", target])
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-warn-script-location"]
    if wheels:
        pip += ["--no-index", "--find-links", wheels, "--upgrade", "crio"]
    else:
        pip += ["--upgrade", SOURCE]
    call(pip)
    # The source may have changed without a new version, which pip takes for the same.
    if not wheels:
        call([*pip[:-2], "--force-reinstall", "--no-deps", SOURCE])


def files(layout: Layout) -> Iterator[File]:
    """Everything but the Python environment, which must be there already: it prints manuals and completions."""
    prefix = layout.prefix
    for name, module in PROGRAMS.items():
        launcher = _LAUNCHER.format(python=f"{layout.environment}/bin/python", module=module)
        yield File(f"{prefix}/bin/{name}", launcher, 0o755)
    for unit in ("crio.service", "crio-wipe.service"):
        text = _contrib("systemd", unit).replace("@BINDIR@", f"{prefix}/bin")
        yield File(f"{prefix}/lib/systemd/system/{unit}", text)
    yield File(f"{prefix}/lib/tmpfiles.d/crio.conf", _contrib("config", "crio.tmpfiles"))
    yield File(f"{prefix}/share/oci-umount/oci-umount.d/crio-umount.conf", _contrib("config", "crio-umount.conf"))
    yield from _generated(layout)
    yield File("/etc/crio/crio.conf", _contrib("config", "crio.conf"), administrators=True)
    yield File("/etc/crio/crio.conf.d/10-crio.conf", _contrib("config", "10-crio.conf"), administrators=True)
    yield File("/etc/crictl.yaml", _contrib("config", "crictl.yaml"), administrators=True)
    options = "/etc/sysconfig/crio" if os.path.isdir("/etc/sysconfig") else "/etc/default/crio"
    yield File(options, _contrib("config", "sysconfig-crio"), administrators=True)
    for name in sorted(os.listdir(os.path.join(SOURCE, "contrib", "cni"))):
        # Another network of the node must not get a rival; the first file in order is the one in use.
        if name.endswith((".conflist", ".conf")) and not _has_network(layout, name):
            yield File(f"/etc/cni/net.d/{name}", _contrib("cni", name), administrators=True)


def _generated(layout: Layout) -> Iterator[File]:
    """Manuals and completions, printed by the programs themselves, and what they know of their build."""
    share = f"{layout.prefix}/share"
    for page, section in (("crio", 8), ("crio.conf", 5), ("crio.conf.d", 5), ("crioctl", 1)):
        yield File(f"{share}/man/man{section}/{page}.{section}", _print(layout, "crio", "man", page))
    places = {
        "bash": f"{share}/bash-completion/completions/{{}}",
        "fish": f"{share}/fish/vendor_completions.d/{{}}.fish",
        "zsh": f"{share}/zsh/site-functions/_{{}}",
    }
    for program in PROGRAMS:
        for shell, place in places.items():
            yield File(place.format(program), _print(layout, program, "completion", shell))
    packages = _print_code(layout, "import crio, os; print(os.path.dirname(crio.__file__))").strip()
    yield File(os.path.join(packages.removeprefix(layout.destdir), "build.json"), json.dumps(_build_facts()))


def _print(layout: Layout, program: str, *arguments: str) -> str:
    return _print_code(layout, f"import sys; from {PROGRAMS[program]} import main; sys.exit(main())", *arguments)


def _print_code(layout: Layout, code: str, *arguments: str) -> str:
    python = os.path.join(layout.below(layout.environment), "bin", "python")
    return call([python, "-I", "-c", code, *arguments])


def _build_facts() -> dict[str, str]:
    if not os.path.exists(os.path.join(SOURCE, ".git")):
        return {}
    git = ["git", "-C", SOURCE, "-c", f"safe.directory={SOURCE}"]
    try:
        commit, date = call([*git, "log", "-1", "--format=%H %cI"]).split()
        state = "dirty" if call([*git, "status", "--porcelain", "--untracked-files=no"]).strip() else "clean"
    except (ProcessFailed, OSError):
        return {}
    return {"git_commit": commit, "git_commit_date": date, "git_tree_state": state}


def _has_network(layout: Layout, own: str) -> bool:
    try:
        names = os.listdir(layout.below("/etc/cni/net.d"))
    except FileNotFoundError:
        return False
    return any(name.endswith((".conflist", ".conf", ".json")) and name != own for name in names)


def write(layout: Layout, file: File) -> bool:
    """Whether the file is now as wanted; an administrator's is left alone."""
    path = layout.below(file.path)
    if file.administrators and os.path.lexists(path):
        print(f"kept {path}")
        return False
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    temporary = f"{path}.new"
    with open(temporary, "w", encoding="utf-8") as target:
        target.write(file.content)
    os.chmod(temporary, file.mode)
    os.rename(temporary, path)
    return True


def _contrib(*names: str) -> str:
    with open(os.path.join(SOURCE, "contrib", *names), encoding="utf-8") as file:
        return file.read()


def call(argv: Sequence[str]) -> str:
    """The output of a program that must succeed."""
    return asyncio.run(run(argv, timeout=_TIMEOUT, env=os.environ)).stdout.decode()


if __name__ == "__main__":
    sys.exit(main())
