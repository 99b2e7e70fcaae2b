"""Plug-in programs that note how they are called and do as they are told, and a directory tree to use them in."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

_SCRIPT = r"""#!/bin/sh
# Notes verb, id, netns, interface and arguments as one line and the configuration in a file of its own.
dir={directory}; me={name}
if [ "$CNI_COMMAND" = VERSION ]; then
    cat "$dir/$me.versions" 2>/dev/null || echo '{{"supportedVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]}}'
    exit 0
fi
cat > "$dir/$me.$CNI_COMMAND.stdin"
echo "$me $CNI_COMMAND $CNI_CONTAINERID ${{CNI_NETNS:--}} $CNI_IFNAME $CNI_ARGS" >> "$dir/calls"
if [ -e "$dir/$me.$CNI_COMMAND.sleep" ]; then sleep "$(cat "$dir/$me.$CNI_COMMAND.sleep")"; fi
if [ -e "$dir/$me.$CNI_COMMAND.fail" ]; then echo "words on stderr" >&2; cat "$dir/$me.$CNI_COMMAND.fail"; exit 1; fi
if [ "$CNI_COMMAND" = ADD ]; then cat "$dir/$me.result"; fi
exit 0
"""


class FakeCni:
    """A configuration directory, a plug-in directory, and the notes that the fake programs leave."""

    def __init__(self, directory: Path) -> None:
        self.config, self.bin, self._notes = directory / "net.d", directory / "bin", directory / "notes"
        for path in (self.config, self.bin, self._notes):
            path.mkdir(parents=True)

    def program(self, name: str, *, result: dict[str, Any] | str | None = None, version: str = "1.0.0") -> None:
        """Install a program; its ADD prints `result`."""
        if result is None:
            address = {"address": "10.9.8.7/24", "gateway": "10.9.8.1"}
            result = {"cniVersion": version, "ips": [address], "dns": {}}
        text = result if isinstance(result, str) else json.dumps(result)
        (self._notes / f"{name}.result").write_text(text)
        path = self.bin / name
        path.write_text(_SCRIPT.format(directory=self._notes, name=name))
        path.chmod(0o755)

    def supports(self, name: str, *versions: str) -> None:
        (self._notes / f"{name}.versions").write_text(json.dumps({"supportedVersions": versions}))

    def fails(self, name: str, verb: str, message: str | None, code: int = 7) -> None:
        """From now on the program fails at a verb; None: no longer. "" is a failure without an error as JSON."""
        path = self._notes / f"{name}.{verb}.fail"
        if message is None:
            path.unlink()
        else:
            path.write_text(json.dumps({"cniVersion": "1.0.0", "code": code, "msg": message}) if message else "")

    def sleeps(self, name: str, verb: str, seconds: float) -> None:
        (self._notes / f"{name}.{verb}.sleep").write_text(str(seconds))

    def network(self, file: str, name: str, *plugins: dict[str, Any], version: str = "1.0.0", **more: Any) -> None:
        """Write a configuration file, as programs do it: whole at once."""
        document = {"cniVersion": version, "name": name, "plugins": list(plugins), **more}
        temporary = self.config / f"{file}.tmp"
        temporary.write_text(json.dumps(document))
        os.rename(temporary, self.config / file)

    def calls(self) -> list[str]:
        """`name VERB` of every call so far."""
        return [" ".join(line.split()[:2]) for line in self.lines()]

    def lines(self) -> list[str]:
        path = self._notes / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def forget(self) -> None:
        (self._notes / "calls").unlink(missing_ok=True)

    def stdin(self, name: str, verb: str) -> dict[str, Any]:
        """What the program got at its last call with this verb."""
        document: dict[str, Any] = json.loads((self._notes / f"{name}.{verb}.stdin").read_text())
        return document
