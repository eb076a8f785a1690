"""What answers, and who is let in -> the three ports that users, Prometheus and probes reach: REST, gRPC, metrics."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Callable
from typing import Any

import structlog

from swin_gateway.body import BodyReader
from swin_gateway.calls import Calls
from swin_gateway.classifier import Classifier
from swin_gateway.connection_limits import ConnectionLimits
from swin_gateway.demo_page import DemoPage
from swin_gateway.grpc_limits import server_options
from swin_gateway.grpc_server import bind, grpc_server
from swin_gateway.guards import Guards
from swin_gateway.http_server import HttpServer
from swin_gateway.metrics import Metrics
from swin_gateway.metrics_api import MetricsApi
from swin_gateway.probes import Probes
from swin_gateway.readiness import Readiness
from swin_gateway.rest_api import RestApi
from swin_gateway.rest_connection import protocol
from swin_gateway.rest_docs import lead_to_docs
from swin_gateway.settings import ServeSettings

log = structlog.get_logger("ports")

MESSAGE_OVERHEAD = 2**16  # options, ids and framing around the images of one message
CUT_SECONDS = 2.0  # to answer the calls that are cut


class Ports:
    """`bind`, then `start`; `drain` waits until what has begun is answered. `close` at any stage."""

    def __init__(
        self,
        settings: ServeSettings,
        guards: Guards,
        classifier: Classifier,
        readiness: Readiness,
        calls: Calls,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._guards = guards
        access, tls = guards.access, guards.tls
        body = BodyReader(max_bytes=settings.max_request_bytes, max_images=settings.max_images)
        self._page = DemoPage()
        root = self._page.add_to if settings.demo_page else lead_to_docs
        self._rest = self._http_server(
            RestApi(classifier, readiness, calls, body, access, root=root).app,
            tls.rest_context() if tls else None,
            metrics.connection_closed,
        )
        self._metrics = self._http_server(
            MetricsApi(metrics.registry, Probes(readiness, classifier.models), calls, access),
            tls.metrics_context() if tls else None,
            metrics.connection_closed,
        )
        options = server_options(settings, settings.max_request_bytes + MESSAGE_OVERHEAD)
        self._grpc = grpc_server(classifier, readiness, calls, access, options=options)
        self._watch: asyncio.Task[None] | None = None

    def bind(self) -> None:
        """Raises StartError when a port is busy."""
        settings, tls = self._settings, self._guards.tls
        metrics_host = settings.metrics_host or settings.host
        self.http = self._rest.bind(settings.host, settings.http_port, "REST")
        self.grpc = bind(self._grpc, settings.host, settings.grpc_port, tls.grpc_credentials() if tls else None)
        self._page.grpc_port = self.grpc
        self.metrics = self._metrics.bind(metrics_host, settings.metrics_port, "metrics")
        self._warn(metrics_host)

    async def start(self) -> None:
        await self._grpc.start()
        self._rest.start()
        self._metrics.start()
        self._watch = asyncio.create_task(self._guards.watch())

    def drain(self, seconds: float) -> set[asyncio.Task[None]]:
        """REST and gRPC stop listening; what ends when all that they had begun is answered, after `seconds` cut."""
        self._rest.drain()
        return {asyncio.create_task(self._grpc.stop(seconds)), self._rest.ended}

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        await self._rest.close()
        await self._grpc.stop(0)
        await self._metrics.close()

    def _http_server(self, app: Any, context: ssl.SSLContext | None, closed: Callable[[str], None]) -> HttpServer:
        return HttpServer(
            app,
            protocol(ConnectionLimits.of(self._settings), closed, context),
            drain_seconds=self._settings.drain_timeout + CUT_SECONDS,
        )

    def _warn(self, metrics_host: str) -> None:
        """Of what is open to more than this machine."""
        if not self._guards.access.open:
            return
        hosts = {"metrics": metrics_host} | ({} if self._guards.mutual else {"rest_and_grpc": self._settings.host})
        if reached := {what: host for what, host in hosts.items() if not _only_here(host)}:
            log.warning("whoever reaches these ports is let in (--token-file, --tls-client-ca)", **reached)


def _only_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
