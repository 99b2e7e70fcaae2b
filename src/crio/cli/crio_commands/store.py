"""The node's store for commands that work on it without the daemon."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator

from crio.base.errors import FailedPrecondition
from crio.config import Config
from crio.storage import options
from crio.storage.options import StoreOptions
from crio.storage.store import Store


@contextlib.contextmanager
def opened(config: Config) -> Iterator[Store]:
    """The store that `config` names, open for the time of the block."""
    store = Store.open(_options(config))
    try:
        yield store
    finally:
        store.close()


def clear(config: Config, *, unmount: bool = False) -> list[str]:
    """Empty the storage, also where images are kept apart; the directories. Raises as `clear_storage`."""
    from crio.storage.clearing import clear_storage

    where = _options(config)
    roots = list(dict.fromkeys((where.graphroot, where.imagestore or where.graphroot)))
    for root in roots:
        clear_storage(root, unmount=unmount)
    return roots


def _options(config: Config) -> StoreOptions:
    return options.load(
        graphroot=config.crio.root,
        runroot=config.crio.runroot,
        driver=config.crio.storage_driver,
        driver_options=config.crio.storage_option,
        imagestore=config.crio.imagestore,
    )


def is_ours(metadata: str) -> bool:
    """Whether a container's metadata is that of a CRI-O: podman's and buildah's name no pod."""
    try:
        content = json.loads(metadata)
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and bool(content.get("pod-id")) and bool(content.get("pod-name"))


def refuse_beside_daemon(config: Config, what: str) -> None:
    """FailedPrecondition if a daemon serves on the configured socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(config.api.listen)
        except OSError:
            return
    raise FailedPrecondition(f"cannot {what}: crio runs at {config.api.listen}; stop it first")
