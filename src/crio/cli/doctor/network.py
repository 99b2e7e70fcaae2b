"""CNI: configuration files, the default network, the plug-ins that it names, and the networks of the running pods."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

from crio.base.errors import CrioError
from crio.cli.doctor.finding import Finding, Patient, error, ok, warning


def check(patient: Patient) -> Iterator[Finding]:
    if patient.loaded is None:
        return
    from crio.network.config import load_networks

    network = patient.loaded.config.network
    found = load_networks(network.network_dir)
    for name, reason in found.broken.items():
        yield warning("network", f"{os.path.join(network.network_dir, name)} is left out: {reason}", "correct it")
    chosen = found.choose(network.cni_default_network)
    if chosen is None:
        if network.cni_default_network and found.by_name:
            names = ", ".join(found.by_name)
            text = f"there is no network {network.cni_default_network} in {network.network_dir}, only {names}"
            yield error("network", text, "correct cni_default_network, or install that network")
        else:
            yield error(
                "network",
                f"there is no CNI network in {network.network_dir}: the node is not ready",
                "install a network add-on, or a .conflist file there",
            )
        return
    if len(found.by_name) > 1 and not network.cni_default_network:
        others = ", ".join(name for name in found.by_name if name != chosen.config.name)
        yield warning(
            "network",
            f"there are several networks; pods get {chosen.config.name} because its file is the first, not {others}",
            "remove the others, or set cni_default_network",
        )
    missing = _missing([plugin.type for plugin in chosen.config.plugins], network.plugin_dirs)
    for kind in missing:
        yield error(
            "network",
            f"network {chosen.config.name} wants the plug-in {kind}, which is not in {', '.join(network.plugin_dirs)}",
            "install it (apt install containernetworking-plugins), or add its directory to plugin_dirs",
        )
    if not missing:
        yield ok("network", f"{chosen.config.name}, from {chosen.path}")
        yield from _of_pods(patient.socket)


def _of_pods(socket: str) -> Iterator[Finding]:
    from crio.cli.crio_commands.inspect_client import get

    try:
        broken = json.loads(get(socket, "/networks"))
    except CrioError:
        return  # that the daemon does not answer is said elsewhere
    for pod in broken:
        yield error(
            "network",
            f"the network of pod {pod['pod']} ({pod['id'][:12]}) is not as it was made: {pod['reason']}",
            "delete the pod: its successor gets a new one",
        )


def _missing(kinds: list[str], directories: tuple[str, ...]) -> list[str]:
    from crio.network.builtin import BUILTIN
    from crio.network.executable import find_plugin

    return [kind for kind in kinds if kind not in BUILTIN and find_plugin(kind, directories) is None]
