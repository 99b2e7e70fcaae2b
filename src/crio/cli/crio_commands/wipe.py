"""`crio wipe`: remove what a reboot or an upgrade made useless, before the daemon starts.

What to remove follows from the files of crio.config.marks: after a reboot the containers, after an upgrade to another
minor version their images too. After a power cut the storage is suspect: with internal_repair the daemon checks and
mends it, otherwise everything in it goes, unless something is still mounted there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import crio
from crio.base.errors import CrioError
from crio.base.files import write_atomic
from crio.cli.crio_commands.command import Call

if TYPE_CHECKING:
    from crio.config import Config


def run(call: Call) -> int:
    from crio.cli.crio_commands.store import clear, refuse_beside_daemon
    from crio.config import load
    from crio.config.marks import last_run

    config = load(call.global_flags, check_host=False).config
    force = call.switch("force")
    refuse_beside_daemon(config, "wipe")
    last = last_run(config.crio, crio.__version__)
    if last.unclean and not config.crio.internal_repair:
        marker = os.path.join(os.path.dirname(config.crio.version_file), "crio-wipe-done")
        if not os.path.exists(marker):
            cleared = clear(config)
            os.makedirs(os.path.dirname(marker), mode=0o755, exist_ok=True)
            write_atomic(marker, b"done", mode=0o644)
            print(f"{config.crio.clean_shutdown_file} is missing after a reboot: cleared {' and '.join(cleared)}")
        return 0
    if config.crio.internal_wipe and not force:
        print("nothing to do: the daemon clears containers and images by itself when it starts (internal_wipe)")
        return 0
    if not force and not last.rebooted:
        print("nothing to do: the node was not rebooted")
        return 0
    return _remove(config, images=force or last.upgraded)


def _remove(config: Config, *, images: bool) -> int:
    """Remove our containers and perhaps the images they were made from; 1 if some could not be removed."""
    from crio.cli.crio_commands.store import is_ours, opened

    failed = False
    with opened(config) as store:
        ours = [container for container in store.containers() if is_ours(container.metadata)]
        removals: list[tuple[str, Callable[[str], object], str]] = [
            (f"container {container.id}", store.remove_container, container.id) for container in ours
        ]
        if images:
            used = sorted({container.image for container in ours if container.image})
            removals += [(f"image {image_id}", store.remove_image, image_id) for image_id in used]
        for what, remove, object_id in removals:
            try:
                remove(object_id)
                print(f"removed {what}")
            except CrioError as error:
                print(f"crio: {error.message}", file=sys.stderr)
                failed = True
    return 1 if failed else 0
