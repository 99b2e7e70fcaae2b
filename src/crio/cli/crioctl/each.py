"""One piece of work for each of several ids, all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from crio.base.errors import CrioError

AT_ONCE = 16


async def for_each(ids: Sequence[str], work: Callable[[str], Awaitable[None]]) -> None:
    """Run `work` for all, also when some fail. One failure is raised as it is, several as one CrioError."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(identifier: str) -> CrioError | None:
        async with gate:
            try:
                await work(identifier)
            except CrioError as error:
                return error
        return None

    failures = [error for error in await asyncio.gather(*map(one, ids)) if error is not None]
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise CrioError("; ".join(error.message for error in failures))
