"""[crio] and [crio.checkpoint_restore]."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from crio.config.key import RESTART, Key


class Crio(Struct, frozen=True):
    """[crio]: storage and the files that tell how the last run ended."""

    root: Annotated[
        str,
        Key(
            "Directory of images and containers' file systems, in the format of containers/storage. The default "
            "is graphroot of storage.conf.",
            RESTART,
        ),
    ] = "/var/lib/containers/storage"
    runroot: Annotated[
        str,
        Key(
            "Directory of the storage's volatile state; it must not survive a reboot. The default is runroot of "
            "storage.conf.",
            RESTART,
        ),
    ] = "/run/containers/storage"
    storage_driver: Annotated[
        str, Key("Storage driver. The default is the driver of storage.conf, and overlay without one.", RESTART)
    ] = "overlay"
    storage_option: Annotated[
        tuple[str, ...],
        Key(
            'Options of the storage driver, such as "overlay.mountopt=nodev". They are added to those of storage.conf.',
            RESTART,
            flag="storage-opt",
            env="CONTAINER_STORAGE_OPT",
        ),
    ] = ()
    log_dir: Annotated[str, Key("Directory of containers' logs when the pod names none. An absolute path.")] = (
        "/var/log/crio/pods"
    )
    version_file: Annotated[
        str,
        Key(
            "File with the version that ran last, on a file system that is empty after a reboot. If it is "
            "missing, the node was rebooted and containers are cleared.",
            RESTART,
        ),
    ] = "/var/run/crio/version"
    version_file_persist: Annotated[
        str,
        Key(
            "File with the version that ran last, which survives a reboot. If it shows another minor version, "
            "images are cleared. Empty: images are never cleared for that reason.",
            RESTART,
        ),
    ] = ""
    imagestore: Annotated[
        str, Key("Directory for images apart from root, for instance on another disk. Empty: root.", RESTART)
    ] = ""
    internal_wipe: Annotated[
        bool,
        Key(
            "Clear containers after a reboot, and images after an upgrade, when the daemon starts. If false, "
            "`crio wipe` has to be run for that.",
            RESTART,
            deprecated="leave it out: the daemon clears what a reboot left behind by itself",
        ),
    ] = True
    internal_repair: Annotated[
        bool, Key("Check the storage after an unclean stop, and repair what is damaged.", RESTART)
    ] = True
    clean_shutdown_file: Annotated[
        str,
        Key(
            "File that is written at a clean stop. If it is missing after a reboot, the storage is checked. "
            "Empty: no such check.",
            RESTART,
        ),
    ] = "/var/lib/crio/clean.shutdown"


class CheckpointRestore(Struct, frozen=True):
    """[crio.checkpoint_restore]"""

    container_level_enabled: Annotated[
        str,
        Key(
            "How far containers may be checkpointed and restored. Both need the criu program; without it the "
            "level is none.",
            choices=("none", "checkpoint_only", "checkpoint_restore"),
            flag="checkpoint-restore-container-level-enabled",
            env="CONTAINER_CHECKPOINT_RESTORE_CONTAINER_LEVEL_ENABLED",
        ),
    ] = "checkpoint_restore"
