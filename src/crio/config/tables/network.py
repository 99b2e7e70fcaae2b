"""[crio.network]: CNI."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from crio.config.key import RESTART, WATCHED, Key, Unit


class Network(Struct, frozen=True):
    """[crio.network]"""

    cni_default_network: Annotated[
        str, Key("Name of the CNI network that pods get. Empty: the first file of network_dir.")
    ] = ""
    network_dir: Annotated[
        str,
        Key(
            "Directory of CNI configuration files. It is watched, and may come later than the daemon.",
            WATCHED,
            flag="cni-config-dir",
            env="CONTAINER_CNI_CONFIG_DIR",
        ),
    ] = "/etc/cni/net.d/"
    plugin_dirs: Annotated[
        tuple[str, ...],
        Key(
            "Directories in which CNI plug-ins are looked for, in this order.",
            flag="cni-plugin-dir",
            env="CONTAINER_CNI_PLUGIN_DIR",
        ),
    ] = ("/opt/cni/bin",)
    plugin_dir: Annotated[
        str,
        Key("One more directory of CNI plug-ins.", deprecated="use plugin_dirs", flag="", env=""),
    ] = ""
    cni_status_grace_period: Annotated[
        float,
        Key(
            "Time for which a failing STATUS of the network's plug-ins is tolerated before the node is not "
            'ready. "0s": they are asked at the start only.',
            RESTART,
            unit=Unit.DURATION,
            env="CNI_STATUS_GRACE_PERIOD",
        ),
    ] = 0.0
    cni_add_timeout: Annotated[
        float,
        Key(
            "Time that all plug-ins of a network together have to attach a pod.",
            RESTART,
            unit=Unit.DURATION,
            flag="",
            env="",
        ),
    ] = 300.0
    cni_del_timeout: Annotated[
        float,
        Key(
            "Time that all plug-ins of a network together have to detach a pod.",
            RESTART,
            unit=Unit.DURATION,
            flag="",
            env="",
        ),
    ] = 60.0
