"""What is seen of the daemon's work: log fields, metrics and spans around calls, stages, plug-ins and runtimes."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from typing import Any

from crio import __version__
from crio.base import logs
from crio.base.errors import Code, CrioError
from crio.base.tasks import TaskScope
from crio.base.tls import ensure_certificate, follow, load_certificate, server_context
from crio.config import Config
from crio.daemon.subject import answered, subject
from crio.rpc.service import Call, Context, Method
from crio.rpc.status import status_of
from crio.telemetry.export import Exporter
from crio.telemetry.metrics import Metrics
from crio.telemetry.server import MetricsServer
from crio.telemetry.trace import CLIENT, SERVER, Tracer, parse_traceparent

log = logging.getLogger(__name__)

_OPERATIONS = {
    ("RunPodSandbox", "network"): "network_setup_pod",
    ("RunPodSandbox", "pod network"): "network_setup_overall",
}
"""Stages that count as operations too, by the names that CRI-O's metrics have for them."""


_CHANGES = ("Run", "Create", "Start", "Stop", "Remove", "Update", "Pull", "Load", "Checkpoint")
"""How calls begin that are worth keeping for `crioctl trace`; the others are questions, asked again and again."""


class Observation:
    """Counts and times what the other rooms do; they are handed its methods."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.metrics = Metrics(config.metrics.metrics_collectors)
        self.metrics.set_default_runtime(config.runtime.default_runtime)
        self.tracer = Tracer(config.tracing.tracing_sampling_rate_per_million)
        self._server = MetricsServer(self.metrics.text, self.metrics.look)
        self._exporter: Exporter | None = None
        self._tasks = TaskScope("observation")
        self._tls: ssl.SSLContext | None = None
        self._follower: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Serve metrics and send traces, as far as the configuration asks for it. Raises CrioError."""
        metrics, tracing = self._config.metrics, self._config.tracing
        if metrics.enable_metrics:
            tls = await self._metrics_tls() if metrics.metrics_cert and metrics.metrics_key else None
            port = await self._server.start_tcp(metrics.metrics_host, metrics.metrics_port, tls)
            log.info("metrics are served on %s:%d", metrics.metrics_host, port)
            if metrics.metrics_socket:
                await self._server.start_unix(metrics.metrics_socket)
        if tracing.enable_tracing:
            # lazy: most nodes have no collector
            from crio.rpc.trace_sender import TraceSender
            from crio.telemetry.otlp import METHOD

            sender = TraceSender(tracing.tracing_endpoint, METHOD)
            self._exporter = Exporter(sender.send, version=__version__, resource={"host.name": os.uname().nodename})
            self.tracer.export = self._exporter.add
            self._tasks.spawn("traces", self._exporter.run())

    def reload(self, config: Config) -> None:
        """Take over what may change while the daemon runs. Raises InvalidArgument for a certificate of no use."""
        before, metrics = self._config.metrics, config.metrics
        if self._tls is not None and (metrics.metrics_cert, metrics.metrics_key) != (
            before.metrics_cert,
            before.metrics_key,
        ):
            load_certificate(self._tls, metrics.metrics_cert, metrics.metrics_key)
            self._follow(self._tls, metrics.metrics_cert, metrics.metrics_key)
        self._config = config
        self.metrics.choose(metrics.metrics_collectors)
        self.metrics.set_default_runtime(config.runtime.default_runtime)
        self.tracer.rate_per_million = config.tracing.tracing_sampling_rate_per_million

    async def _metrics_tls(self) -> ssl.SSLContext:
        metrics, api = self._config.metrics, self._config.api
        cert, key = metrics.metrics_cert, metrics.metrics_key
        await ensure_certificate(cert, key)
        self._tls = server_context(cert, key, min_version=api.tls_min_version, cipher_suites=api.tls_cipher_suites)
        self._follow(self._tls, cert, key)
        return self._tls

    def _follow(self, context: ssl.SSLContext, cert: str, key: str) -> None:
        if self._follower is not None:
            self._follower.cancel()
        self._follower = self._tasks.spawn("metrics certificate", follow(context, cert, key))

    async def stop(self) -> None:
        await self._server.stop()
        await self._tasks.stop()
        if self._exporter is not None:
            try:
                async with asyncio.timeout(2.0):
                    await self._exporter.flush()
            except (CrioError, OSError, TimeoutError) as error:
                log.debug("the last traces are lost: %s", error)

    async def call(self, method: Method, request: Any, context: Context, proceed: Call) -> Any:
        """Around every RPC: its log lines tell its id, name and pod, metrics count it, a span shows it."""
        begin = time.perf_counter()
        code = Code.OK
        caller = parse_traceparent((context.metadata or {}).get("traceparent", ""))
        about = subject(request)
        with (
            logs.bind(id=context.request_id, name=context.method, **about),
            self.tracer.span(
                context.method, kind=SERVER, caller=caller, keep=method.name.startswith(_CHANGES), **about
            ) as span,
        ):
            span.set(request=context.request_id)
            try:
                response = await proceed(request, context)
                span.set(**answered(method.name, response))
                return response
            except BaseException as error:
                code = status_of(error)[0]
                if isinstance(error, CrioError):
                    log.debug("%s: %s", method.name, error.message)
                raise
            finally:
                self.metrics.rpc(method.name, code.name, time.perf_counter() - begin)

    def stage(self, job: str, stage: str, seconds: float, failed: bool) -> None:
        """A stage of a job has ended."""
        self.metrics.stage(job, stage, seconds)
        if (operation := _OPERATIONS.get((job, stage))) is not None:
            self.metrics.operation(operation, seconds, failed=failed)
        self.tracer.record(f"{job}: {stage}", seconds, error="failed" if failed else "")

    def plugin_called(self, verb: str, plugin: str, seconds: float, succeeded: bool) -> None:
        """A CNI plug-in was called."""
        self.metrics.cni_plugin(plugin, verb, seconds, failed=not succeeded)
        self.tracer.record(f"CNI {verb} {plugin}", seconds, kind=CLIENT, error="" if succeeded else "failed")

    def runtime_called(self, handler: str, call: str, seconds: float, *, failed: bool) -> None:
        """An OCI runtime was called."""
        self.metrics.runtime_call(handler, call, seconds, failed=failed)
        self.tracer.record(f"{handler} {call}", seconds, kind=CLIENT, error="failed" if failed else "")
