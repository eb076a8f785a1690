"""Settings -> the running service: TorchServe below, REST, gRPC and metrics above, from start to drained end.

bind ports → start TorchServe → loading (livez, not readyz) → ready → SIGTERM → grace → drain → end
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any
from wsgiref.simple_server import WSGIServer

import grpc.aio
import prometheus_client
import structlog
import uvicorn
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from swin_gateway.archive import Archive
from swin_gateway.body import BodyReader
from swin_gateway.calls import Calls
from swin_gateway.classifier import Classifier
from swin_gateway.errors import StartError
from swin_gateway.grpc_api import GrpcApi
from swin_gateway.images import HeaderCheck
from swin_gateway.java import find_java
from swin_gateway.metrics import Metrics
from swin_gateway.model import Models, ServedModel
from swin_gateway.options import EVERYTHING
from swin_gateway.readiness import Readiness
from swin_gateway.rest_api import RestApi
from swin_gateway.settings import ServeSettings
from swin_gateway.torchserve import TorchServe
from swin_gateway.tracing import Tracing
from swin_gateway.worker import WorkerClient
from swin_proto.v1 import classifier_pb2

log = structlog.get_logger("service")

LOAD_FAILURES = 3
CUT_SECONDS = 2.0  # to answer the calls that are cut
MESSAGE_OVERHEAD = 2**16  # options, ids and framing around the images of one message


class ServiceFailed(Exception):
    """What is below the gateway ended while it was needed, and will not come back by itself."""


class RestServer(uvicorn.Server):
    """uvicorn without its own signal handling: the service drains both protocols together."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Service:
    """One gateway and its TorchServe. `start`, then `run`; `stop` ends `run`; `close` cleans up whatever there is."""

    def __init__(self, settings: ServeSettings, archives: Sequence[Archive], stop: asyncio.Event) -> None:
        self._settings = settings
        self._stopping = stop
        self._tracing = Tracing.from_environment()
        message_bytes = settings.max_request_bytes + MESSAGE_OVERHEAD
        # TorchServe ends a worker that answers more than its limit; a job, and so its answer, holds one image.
        answers = [EVERYTHING.answer_bytes(archive.manifest) + MESSAGE_OVERHEAD for archive in archives]
        hop_bytes = max([message_bytes, *answers])
        self.metrics = Metrics()
        self.torchserve = TorchServe(
            archives,
            java=find_java(settings.java),
            heap_mb=settings.java_heap_mb,
            max_message_bytes=hop_bytes,
            log_level=settings.log_level,
            handler=settings.handler,
        )
        self._workers = WorkerClient(f"{self.torchserve.host}:{self.torchserve.grpc_port}", max_message_bytes=hop_bytes)
        models = [
            ServedModel(
                archive,
                queue_size=settings.queue_size,
                metrics=self.metrics.for_model(archive.manifest.name, archive.manifest.version),
            )
            for archive in archives
        ]
        self.classifier = Classifier(
            Models(models),
            self._workers,
            HeaderCheck(settings.max_image_bytes, settings.max_pixels, settings.formats),
            max_images=settings.max_images,
            max_response_bytes=settings.max_response_bytes,
            default_timeout=settings.default_timeout,
            max_timeout=settings.max_timeout,
        )
        self.calls = Calls(
            self.metrics,
            self.classifier.closing,
            tracing=self._tracing,
            access_log_rate=settings.access_log_rate,
        )
        self.readiness = Readiness(self.classifier, self.metrics)
        self._grpc = self._grpc_server(message_bytes)
        self._rest = self._rest_server()
        self._rest_socket: socket.socket | None = None
        self._metrics_server: WSGIServer | None = None

    async def start(self) -> None:
        """Binds the ports and starts everything; nothing is ready when this returns.

        Raises:
            StartError: a port is busy, or TorchServe cannot be started.
        """
        settings = self._settings
        self._rest_socket = _listen(settings.host, settings.http_port, "REST")
        self.http_port = self._rest_socket.getsockname()[1]
        self.grpc_port = self._bind_grpc()
        self.metrics_port = self._start_metrics()
        self.metrics.build_info.info(_versions())
        await self.torchserve.start()
        await self.readiness.look()  # gRPC's health service says SERVING until it is told otherwise
        await self._grpc.start()
        self._rest_task = asyncio.create_task(self._rest.serve([self._rest_socket]))
        self._watch_task = asyncio.create_task(self.readiness.watch())
        self._torchserve_task = asyncio.create_task(self.torchserve.wait())

    async def wait_ready(self) -> None:
        """Until every model has answered a real forward pass, or the service is asked to stop.

        Raises:
            StartError: a model cannot be loaded, TorchServe ended, or `start_timeout` passed.
        """
        ready = asyncio.create_task(self.readiness.became_ready.wait())
        fatal = asyncio.create_task(self.torchserve.fatal.get())
        stopping = asyncio.create_task(self._stopping.wait())
        tasks: set[asyncio.Task[Any]] = {ready, fatal, stopping}
        ends = {*tasks, self._torchserve_task}
        await asyncio.wait(ends, timeout=self._settings.start_timeout, return_when=asyncio.FIRST_COMPLETED)
        done = [task for task in ends if task.done()]
        for task in tasks:
            task.cancel()
        if fatal in done:
            self.torchserve.ending = True
            raise StartError(f"a model cannot be loaded: {fatal.result()}")
        if self._torchserve_task in done:
            raise StartError(f"TorchServe ended while starting:\n{self.torchserve.tail}")
        if not done:
            timeout = self._settings.start_timeout
            raise StartError(f"not ready after {timeout:g} s; TorchServe said last:\n{self.torchserve.tail}")

    async def run(self) -> None:
        """Serves until `stop` is set, then drains.

        Raises:
            ServiceFailed: TorchServe died, or a worker died and does not come back. Calls under way have been told.
        """
        try:
            await self._until_torchserve_ends(self._stopping.wait(), self._broken())
            await self._until_torchserve_ends(self._drain())
        except ServiceFailed:
            await self._give_up()
            raise

    async def _until_torchserve_ends(self, *work: Coroutine[Any, Any, object]) -> None:
        """Returns when the first of `work` has ended. Raises what it raised, or ServiceFailed if TorchServe ends."""
        tasks = {asyncio.ensure_future(each) for each in work}
        try:
            done, _ = await asyncio.wait({*tasks, self._torchserve_task}, return_when=asyncio.FIRST_COMPLETED)
            if self._torchserve_task in done:
                code = self._torchserve_task.result()
                raise ServiceFailed(f"TorchServe ended with code {code}; it said last:\n{self.torchserve.tail}")
            for task in done:
                await task
        finally:
            for task in tasks:
                task.cancel()

    async def _broken(self) -> None:
        """Raises ServiceFailed when a worker that died does not come back: a fresh start unpacks the archive anew.

        That is when it fails LOAD_FAILURES times to load its model, or when the service has not been ready again for as
        long as a start may take. TorchServe would go on trying and in the end give up silently.
        """
        failures, limit = 0, self._settings.start_timeout
        while True:
            try:
                reason = await asyncio.wait_for(self.torchserve.fatal.get(), timeout=1)
            except TimeoutError:
                if self.readiness.lost_seconds > limit:
                    raise ServiceFailed(f"a worker was lost and has not come back for {limit:g} s") from None
                continue
            failures = 1 if self.readiness.ready else failures + 1
            log.error("a worker cannot load its model", reason=reason, failures=failures)
            if failures == LOAD_FAILURES:
                raise ServiceFailed(f"a worker died and its model cannot be loaded again: {reason}")

    async def close(self) -> None:
        """Ends what is left, TorchServe last. Safe at any stage of a start."""
        self._rest.should_exit = True
        self._rest.force_exit = True
        await self._grpc.stop(0)
        for name in ("_rest_task", "_watch_task"):
            if task := getattr(self, name, None):
                task.cancel()
                await asyncio.wait([task])
        if self._rest_socket is not None:
            self._rest_socket.close()
        if self._metrics_server is not None:
            self._metrics_server.shutdown()
            self._metrics_server.server_close()
        await self._workers.close()
        await self.torchserve.stop()
        await asyncio.to_thread(self._tracing.close)

    async def _drain(self) -> None:
        settings = self._settings
        # Load balancers that lag send work only to a service that has been ready.
        grace = settings.drain_grace if self.readiness.became_ready.is_set() else 0.0
        await self.readiness.close()
        log.info("draining", grace_seconds=grace)
        await asyncio.sleep(grace)
        self.classifier.closing.set()
        # Both stop listening at once and end when the last call that had begun is answered.
        grpc_ends = asyncio.create_task(self._grpc.stop(settings.drain_timeout + CUT_SECONDS))
        self._rest.should_exit = True
        _, late = await asyncio.wait({grpc_ends, self._rest_task}, timeout=settings.drain_timeout)
        if late:
            log.warning("calls are cut at the end of the drain", calls=self.calls.cut())
            await asyncio.wait(late, timeout=CUT_SECONDS)
        log.info("drained")

    async def _give_up(self) -> None:
        """Nothing can be answered any more: calls end with 503 instead of a broken connection."""
        await self.readiness.close()
        self.classifier.closing.set()
        grpc_ends = asyncio.create_task(self._grpc.stop(CUT_SECONDS))
        self._rest.should_exit = True
        self.calls.cut()
        await asyncio.wait({grpc_ends, self._rest_task}, timeout=CUT_SECONDS)

    def _grpc_server(self, message_bytes: int) -> grpc.aio.Server:
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", message_bytes),
                # An answer that would be too large is refused before it is computed; gRPC would refuse it after.
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),  # else a second instance would silently share the port
            ]
        )
        GrpcApi(self.classifier, self.calls).add_to(server)
        health_pb2_grpc.add_HealthServicer_to_server(self.readiness.health, server)
        names = [file.services_by_name[name].full_name for file, name in _SERVICES]
        reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], server)
        return server

    def _rest_server(self) -> RestServer:
        settings = self._settings
        body = BodyReader(max_bytes=settings.max_request_bytes, max_images=settings.max_images)
        api = RestApi(self.classifier, self.readiness, self.calls, body)
        config = uvicorn.Config(
            api.app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            proxy_headers=False,  # whose call it is decides who waits; a header could say anything
            timeout_graceful_shutdown=math.ceil(settings.drain_timeout + CUT_SECONDS),
        )
        return RestServer(config)

    def _bind_grpc(self) -> int:
        host, port = self._settings.host, self._settings.grpc_port
        _listen(host, port, "gRPC").close()  # gRPC's own complaint about a busy port is two lines of C++
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            return self._grpc.add_insecure_port(address)
        except RuntimeError:  # another took it in the moment between
            raise StartError(f"cannot listen on {address} (gRPC): port 0 takes a free one") from None

    def _start_metrics(self) -> int:
        host, port = self._settings.host, self._settings.metrics_port
        try:
            self._metrics_server, _ = prometheus_client.start_http_server(port, host, self.metrics.registry)
        except OSError as error:
            message = f"cannot listen on {host}:{port} (metrics): {error.strerror}; port 0 takes a free one"
            raise StartError(message) from None
        return int(self._metrics_server.server_port)


_SERVICES = ((classifier_pb2.DESCRIPTOR, "Classifier"), (health_pb2.DESCRIPTOR, "Health"))


def _listen(host: str, port: int, what: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=2048)
        # asyncio sets it only where the socket's protocol number says TCP, which create_server leaves out; without it
        # every answer waits 40 ms for the client's delayed acknowledgement. Accepted connections inherit it.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        raise StartError(
            f"cannot listen on {host}:{port} ({what}): {error.strerror}; port 0 takes a free one"
        ) from None


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("swinserve", "torchserve", "torch", "timm", "grpcio")}
