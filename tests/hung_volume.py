"""A file system that answers nobody, like one of a server that has gone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crio.linux import mount


@contextlib.contextmanager
def hung_file_system(place: Path) -> Iterator[Callable[[], None]]:
    """Mount it at the directory `place`. The function that is given lets all looks at it, and in it, fail."""
    try:
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        pytest.skip(f"no FUSE here: {error.strerror}")
    with contextlib.ExitStack() as stack:
        end = stack.enter_context(contextlib.ExitStack())
        end.callback(os.close, device)
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0"
        mount.mount("hung", str(place), "fuse", mount.MS_NOSUID | mount.MS_NODEV, options)
        stack.callback(mount.umount, str(place), mount.MNT_DETACH)
        # Nobody ever reads what the kernel asks.
        stack.callback(end.close)
        yield end.close
