"""What a plug-in is: something that is asked ADD, DEL, CHECK, STATUS or GC, whether a program or built in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from crio.base.errors import Code, CrioError
from crio.spec.cni import LIMITED_CONNECTIVITY, NOT_AVAILABLE, TRY_AGAIN_LATER, Result, parse_result

ADD, DEL, CHECK, STATUS, GC = "ADD", "DEL", "CHECK", "STATUS", "GC"

Observer = Callable[[str, str, float, bool], None]
"""Is told of each call: the verb, the plug-in's type, the seconds it took, and whether it succeeded."""


class PluginRequest(msgspec.Struct, frozen=True):
    """One call. `document` is the plug-in's configuration with what the runtime adds to it; see CNI section 3."""

    verb: str
    type: str
    document: dict[str, Any]
    container_id: str = ""
    netns: str = ""
    interface: str = ""
    arguments: str = ""

    @property
    def network(self) -> str:
        name: str = self.document["name"]
        return name

    @property
    def version(self) -> str:
        version: str = self.document["cniVersion"]
        return version

    def previous(self) -> Result | None:
        """The result of the plug-ins before this one. Raises InvalidArgument if it makes no sense."""
        raw = self.document.get("prevResult")
        if raw is None:
            return None
        data = raw if isinstance(raw, msgspec.Raw) else msgspec.json.encode(raw)
        return parse_result(data, self.version)


class Plugin(Protocol):
    """`builtin` tells which implementation it is; an attachment is undone by the one that made it."""

    builtin: bool

    async def call(self, request: PluginRequest, timeout: float) -> bytes:
        """Do it within `timeout` seconds. The result as JSON for ADD, else nothing. Raises PluginFailed."""
        ...


class PluginFailed(CrioError):
    """A plug-in said no, or nothing that could be understood, or took too long.

    `cni_code` is the number by which the specification or the plug-in names the failure, 0 if there is none.
    """

    code = Code.INTERNAL

    def __init__(self, request: PluginRequest, reason: str, cni_code: int = 0) -> None:
        where = f" for network {request.network}" if request.document else ""
        super().__init__(f"cannot run CNI plug-in {request.type} {request.verb}{where}: {reason}")
        self.plugin, self.verb, self.reason, self.cni_code = request.type, request.verb, reason, cni_code
        if cni_code in (TRY_AGAIN_LATER, NOT_AVAILABLE, LIMITED_CONNECTIVITY):
            self.code, self.temporary = Code.UNAVAILABLE, True
