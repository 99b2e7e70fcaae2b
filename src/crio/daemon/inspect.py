"""The inspect endpoints: HTTP/1 on the CRI socket, for cAdvisor's crio client, `crio status` and people with curl."""

from __future__ import annotations

import asyncio
import gc
import io
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from crio.base.errors import Code, CrioError
from crio.cri.node import Node
from crio.daemon.described import Described
from crio.daemon.kept_traces import traces_about
from crio.telemetry.trace import Span, Tracer
from crio.wire.http1 import Request, Response

Endpoint = Callable[[str], Awaitable[Response]]

_STATUS = {Code.NOT_FOUND: 404, Code.INVALID_ARGUMENT: 400, Code.FAILED_PRECONDITION: 409}


class Inspect:
    """Answers GET requests; everything else is 404 or 405."""

    def __init__(
        self, node: Node, described: Described, tracer: Tracer | None = None, *, profiles: bool = False
    ) -> None:
        """`tracer`: whose spans are told; `profiles`: whether a profile of the CPU may be asked for."""
        self._node = node
        self._described = described
        self._tracer = tracer
        self._profiles = profiles
        self._fixed: dict[str, Callable[[], Response]] = {
            "/info": self._info,
            "/config": lambda: _text(node.config_text()),
            "/debug/goroutines": lambda: _text(dump_tasks()),
            "/debug/tasks": lambda: _text(dump_tasks()),
            "/debug/heap": lambda: _text(dump_heap()),
            "/debug/jobs": self._jobs,
        }
        self._by_id: dict[str, Endpoint] = {
            "containers": self._container,
            "pause": lambda container_id: self._pause(container_id, frozen=True),
            "unpause": lambda container_id: self._pause(container_id, frozen=False),
        }

    async def handle(self, request: Request) -> Response:
        """The answer to one request; errors have the status code that fits and one sentence."""
        if request.method not in ("GET", "HEAD"):
            return _text("this endpoint is read with GET", 405)
        path = request.path
        if path in self._fixed:
            return self._fixed[path]()
        if path == "/networks":
            return await self._networks()
        if path.startswith("/debug/"):
            return await self._debug(path, request.query)
        kind, _, object_id = path.removeprefix("/").partition("/")
        endpoint = self._by_id.get(kind)
        if endpoint is None or not object_id or "/" in object_id:
            return _text("no such endpoint", 404)
        try:
            return await endpoint(object_id)
        except CrioError as error:
            return _text(error.message, _STATUS.get(error.code, 500))

    async def handle_debug(self, request: Request) -> Response:
        """As `handle`, but dumps and profiles only: for a port that every user of the node can reach."""
        if not request.path.startswith("/debug/"):
            return _text("no such endpoint; there are /debug/goroutines, heap, jobs, traces and pprof/profile", 404)
        return await self.handle(request)

    async def _debug(self, path: str, query: Mapping[str, Sequence[str]]) -> Response:
        if path == "/debug/traces":
            return self._traces(next(iter(query.get("subject", ())), ""))
        if path == "/debug/pprof/profile" and self._profiles:
            from crio.daemon.profiling import cpu_profile

            try:
                return _text(await cpu_profile(next(iter(query.get("seconds", ())), "")))
            except CrioError as error:
                return _text(error.message, _STATUS.get(error.code, 500))
        return _text("no such endpoint", 404)

    def _traces(self, subject: str) -> Response:
        """The spans that are kept of all traces about a pod, container or image; by id or name, or how they begin."""
        traces = traces_about(self._tracer, subject) if self._tracer is not None else []
        return _json([[_span(span) for span in trace] for trace in traces])

    def _jobs(self) -> Response:
        """What is under way, oldest first, with how long it and its stage have taken."""
        now = time.time_ns()
        return _json(
            [
                {
                    "kind": job.kind,
                    "subject": job.subject,
                    "stage": job.stage,
                    "seconds": round(job.age, 3),
                    "stage_seconds": round((now - job.stage_started_at) / 1e9, 3),
                    "waiters": job.waiters,
                }
                for job in self._node.jobs.running()
            ]
        )

    async def _networks(self) -> Response:
        """Pods whose network is not as it was made, by the verb CHECK of the plug-ins."""
        broken = await self._node.network.check_all()
        return _json([{"id": pod.id, "pod": f"{pod.namespace}/{pod.name}", "reason": why} for pod, why in broken])

    def _info(self) -> Response:
        config = self._node.config()
        return _json(
            {
                "storage_driver": config.crio.storage_driver,
                "storage_root": config.crio.root,
                "storage_image": config.crio.imagestore,
                "cgroup_driver": config.runtime.cgroup_manager,
                "default_id_mappings": {"uids": [], "gids": []},
            }
        )

    async def _container(self, container_id: str) -> Response:
        return _json(self._described.describe(container_id))

    async def _pause(self, container_id: str, *, frozen: bool) -> Response:
        await self._node.containers.pause(container_id, frozen=frozen)
        return _text("200 OK")


def dump_tasks() -> str:
    """The stack of every asyncio task and thread: where the daemon is."""
    out = io.StringIO()
    for task in sorted(asyncio.all_tasks(), key=lambda task: task.get_name()):
        out.write(f"task {task.get_name()}\n")
        task.print_stack(file=out)
        out.write("\n")
    for ident, frame in sys._current_frames().items():
        out.write(f"thread {ident}\n")
        traceback.print_stack(frame, file=out)
        out.write("\n")
    return out.getvalue()


def dump_heap() -> str:
    """How many objects of each type the collector knows, most first."""
    counts: dict[str, int] = {}
    for item in gc.get_objects():
        name = f"{type(item).__module__}.{type(item).__qualname__}"
        counts[name] = counts.get(name, 0) + 1
    ranked = sorted(counts.items(), key=lambda pair: -pair[1])
    return "".join(f"{count:10d} {name}\n" for name, count in ranked)


def _span(span: Span) -> dict[str, object]:
    return {
        "trace": span.context.trace_id,
        "id": span.context.span_id,
        "parent": span.parent_id,
        "name": span.name,
        "start_ns": span.start_ns,
        "end_ns": span.end_ns,
        "error": span.error,
        "attributes": span.attributes,
    }


def _json(value: object) -> Response:
    return Response(200, msgspec.json.encode(value), "application/json")


def _text(text: str, status: int = 200) -> Response:
    return Response(status, text.encode(), "text/plain; charset=utf-8")
