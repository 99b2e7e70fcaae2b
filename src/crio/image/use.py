"""Whether an image in the store may be used now: decided each time that a container or a volume is made of it.

Most policies need no look at a signature, and then this costs microseconds. What the image worker has found good is
remembered for as long as nothing that decided over it changes: image, policy, keys; and for a few minutes at most,
since keys and certificates expire.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Protocol

from crio.base.errors import CrioError
from crio.image.records import ImageInfo
from crio.image.trust.policy import Policies, Policy, Stamp, need_signatures, stamp_of, stamp_of_keys
from crio.image.worker.messages import Settings, Verify
from crio.wire.reference import Reference

_REMEMBERED_SECONDS = 300.0
_MAX_REMEMBERED = 1000
_MAX_KEY_FILES = 100


class Verifier(Protocol):
    """The image worker, as far as it is needed here."""

    async def verify(self, request: Verify) -> None: ...


class UseCheck:
    """For the event loop's thread."""

    def __init__(self, worker: Verifier, policies: Policies, settings: Settings) -> None:
        self._worker = worker
        self._policies = policies
        self._settings = settings
        self._good: dict[tuple[object, ...], float] = {}

    async def check(self, image: ImageInfo, names: Sequence[Reference], namespace: str) -> None:
        """Raise SignatureValidationFailed unless the namespace's policy accepts the image under one of `names`, and
        PermissionDenied if it is encrypted and the node has not got the keys.

        `names` empty: the image is judged without a name. Raises InvalidArgument for a malformed policy, Unavailable.
        """
        policy = self._policies.find(namespace)
        asked, stamp = _to_verify(policy, names, image.id[:12])
        if not stamp and asked and not image.encrypted:
            return
        keys = _directory_stamp(self._settings.decryption_keys_path) if image.encrypted else ()
        # The image stands for itself in the key: another record of it is another object.
        case = (image, tuple(asked), namespace, policy, stamp, keys)
        now = time.monotonic()
        if self._good.get(case, 0.0) > now:
            return
        request = Verify(0, image.id, tuple(str(name) for name in asked if name), self._settings, namespace)
        await self._worker.verify(request)
        if len(self._good) >= _MAX_REMEMBERED:
            self._good.clear()
        self._good[case] = now + _REMEMBERED_SECONDS


def _to_verify(policy: Policy | None, names: Sequence[Reference], what: str) -> tuple[list[Reference | None], Stamp]:
    """The names that the policy does not refuse anyway, and what changes with the keys that decide over them.

    One name that is accepted as it is suffices: then it comes alone, and without a stamp. Raises what refused the first
    name if all are refused.
    """
    if policy is None:
        return [names[0] if names else None], ()
    failures: list[CrioError] = []
    left: list[Reference | None] = []
    stamp: Stamp = ()
    for name in names or (None,):
        requirements = policy.requirements(name)
        try:
            if not need_signatures(requirements, str(name or what)):
                return [name], ()
        except CrioError as error:
            failures.append(error)
            continue
        left.append(name)
        # Never empty, also where the policy itself has all keys: there are signatures to look at.
        stamp += stamp_of_keys(requirements) or (("", 0, 0, 0),)
    if not left:
        raise failures[0]
    return left, stamp


def _directory_stamp(directory: str) -> Stamp:
    try:
        names = sorted(os.listdir(directory))[:_MAX_KEY_FILES]
    except OSError:
        names = []
    return stamp_of([directory, *(os.path.join(directory, name) for name in names)])
