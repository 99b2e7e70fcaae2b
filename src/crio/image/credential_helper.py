"""Credential helper programs: `docker-credential-NAME get` with the registry on its stdin."""

from __future__ import annotations

import os
from collections.abc import Mapping

from crio.image.credentials import Credentials, parse_helper_answer

TIMEOUT = 30.0
_NOT_FOUND = (b"credentials not found", b"not found in native keychain")


def ask_helper(name: str, host: str, environ: Mapping[str, str] = os.environ) -> Credentials | None:
    """The helper's credentials for `host`; None if it has none. For the image worker, where threads may block.

    Raises ProcessFailed, ProcessTimeout, InvalidArgument, or OSError if there is no such program.
    """
    # lazy: few nodes have helpers, and the worker needs no event loop otherwise
    import asyncio

    from crio.base.process import ProcessFailed, run

    program = f"docker-credential-{name}"
    work = run([program, "get"], timeout=TIMEOUT, env=dict(environ), stdin=host.encode(), check=False)
    done = asyncio.run(work)
    if done.returncode == 0:
        return parse_helper_answer(done.stdout)
    if any(text in (done.stdout + done.stderr).lower() for text in _NOT_FOUND):
        return None
    raise ProcessFailed(done)
