"""Settings -> the running service: TorchServe below, REST, gRPC and metrics above, from start to drained end.

bind ports → start TorchServe → loading (livez, not readyz) → ready → SIGTERM → grace → drain → end
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import structlog

from swin_gateway import open_files, orphans
from swin_gateway.archive import Archive
from swin_gateway.calls import Calls
from swin_gateway.classifier import Classifier
from swin_gateway.errors import StartError
from swin_gateway.guards import Guards
from swin_gateway.image_memory import ImageMemory
from swin_gateway.images import HeaderCheck
from swin_gateway.java import find_java
from swin_gateway.metrics import Metrics
from swin_gateway.model import Models, ServedModel
from swin_gateway.options import EVERYTHING
from swin_gateway.pending_bytes import PendingBytes
from swin_gateway.ports import CUT_SECONDS, MESSAGE_OVERHEAD, Ports
from swin_gateway.readiness import Readiness
from swin_gateway.settings import ServeSettings
from swin_gateway.stream_limits import StreamLimits
from swin_gateway.torchserve import TorchServe
from swin_gateway.tracing import Tracing
from swin_gateway.worker import WorkerClient

log = structlog.get_logger("service")

LOAD_FAILURES = 3


class ServiceFailed(Exception):
    """What is below the gateway ended while it was needed, and will not come back by itself."""


class Service:
    """One gateway and its TorchServe. `start`, then `run`; `stop` ends `run`; `close` cleans up whatever there is."""

    def __init__(self, settings: ServeSettings, archives: Sequence[Archive], stop: asyncio.Event) -> None:
        self._settings = settings
        self._stopping = stop
        guards = Guards(settings)
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
        self._image_memory = ImageMemory()
        self._workers = WorkerClient(
            self.torchserve.rest_address, self._image_memory, key=self.torchserve.inference_key
        )
        models = [
            ServedModel(
                archive,
                queue_size=settings.queue_size,
                metrics=self.metrics.for_model(archive.manifest.name, archive.manifest.version),
            )
            for archive in archives
        ]
        pending = PendingBytes(settings.max_pending_bytes)
        self.metrics.pending_bytes.set_function(lambda: pending.total)
        self.classifier = Classifier(
            Models(models),
            self._workers,
            HeaderCheck(settings.max_image_bytes, settings.max_pixels, settings.formats),
            pending,
            StreamLimits.of(settings, message_bytes),
            max_images=settings.max_images,
            max_image_bytes=settings.max_image_bytes,
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
        self._ports = Ports(settings, guards, self.classifier, self.readiness, self.calls, self.metrics)

    async def start(self) -> None:
        """Binds the ports and starts everything; nothing is ready when this returns.

        Raises:
            StartError: a port is busy, or TorchServe cannot be started.
        """
        slots = sum(model.admission.slots for model in self.classifier.models)
        open_files.allow(self._settings.max_connections, slots)
        self._ports.bind()
        self.http_port, self.grpc_port, self.metrics_port = self._ports.http, self._ports.grpc, self._ports.metrics
        self.metrics.build_info.info(_versions())
        await self.torchserve.start()
        orphans.reap(self.torchserve.pid)
        await self.readiness.look()  # gRPC's health service says SERVING until it is told otherwise
        await self._ports.start()
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
        await self._ports.close()
        if task := getattr(self, "_watch_task", None):
            task.cancel()
            await asyncio.wait([task])
        await self._workers.close()
        self._image_memory.close()
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
        ends = self._ports.drain(settings.drain_timeout + CUT_SECONDS)
        _, late = await asyncio.wait(ends, timeout=settings.drain_timeout)
        if late:
            log.warning("calls are cut at the end of the drain", calls=self.calls.cut())
            await asyncio.wait(late, timeout=CUT_SECONDS)
        log.info("drained")

    async def _give_up(self) -> None:
        """Nothing can be answered any more: calls end with 503 instead of a broken connection."""
        await self.readiness.close()
        self.classifier.closing.set()
        ends = self._ports.drain(CUT_SECONDS)
        self.calls.cut()
        await asyncio.wait(ends, timeout=CUT_SECONDS)


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("swinserve", "torchserve", "torch", "timm", "grpcio")}
