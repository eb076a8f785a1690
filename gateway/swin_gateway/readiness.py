"""Workers' answers -> ready or not, told to probes, to gRPC health and to the metrics.

Ready = every model has a live worker that has answered a real forward pass, and nothing is draining. Traffic's own
successes count, so load never makes a service unready. A canary is sent to a model that nobody asks anything, and to
one that is asked but gives no good answer for seconds.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import math
import time
from typing import Any

import structlog
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse

from swin_gateway.classifier import Classifier
from swin_gateway.errors import ServingError
from swin_gateway.metrics import Metrics
from swin_gateway.model import STALE_SECONDS, ServedModel

log = structlog.get_logger("readiness")

TICK_SECONDS = 0.25
CANARY_AFTER_SECONDS = 2.0  # of silence
UNDER_LOAD_SECONDS = STALE_SECONDS / 2
SERVICES = ("", "swinserve.v1.Classifier", "inference.GRPCInferenceService")
# A grey 8×8 PNG: any classifier takes it.
CANARY = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEElEQVR4nGNsYIAAJgaKGAAmCACQXTClHgAAAABJRU5ErkJggg=="
)


class Health(health.aio.HealthServicer):  # type: ignore[misc, name-defined]  # the stubs lack aio
    """grpc.health.v1, whose watches end when the service closes: they would hold up the drain for ever."""

    def __init__(self, closing: asyncio.Event) -> None:
        super().__init__()
        self._closing = closing

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802
        watch = asyncio.create_task(super().Watch(request, context))
        closing = asyncio.create_task(self._closing.wait())
        try:
            await asyncio.wait({watch, closing}, return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                await watch
        finally:
            watch.cancel()
            closing.cancel()


class Readiness:
    def __init__(self, classifier: Classifier, metrics: Metrics) -> None:
        self._classifier = classifier
        self._metrics = metrics
        self._canaries: dict[ServedModel, asyncio.Task[None]] = {}
        self.health = Health(classifier.closing)
        self.ready = False
        self.became_ready = asyncio.Event()
        self.closing = False
        self._lost_at = math.inf

    @property
    def lost_seconds(self) -> float:
        """Since it was ready last; negative while it is, or before it was for the first time."""
        return time.monotonic() - self._lost_at

    def of(self, model: ServedModel) -> bool:
        """Of this model alone, whatever the others do."""
        return model.workers.ready and not self.closing

    async def watch(self) -> None:
        """Runs until cancelled."""
        try:
            while True:
                await self.look()
                await asyncio.sleep(TICK_SECONDS)
        finally:
            for canary in self._canaries.values():
                canary.cancel()

    async def look(self) -> None:
        """One look at every model; tells whoever asks if something changed."""
        for model in self._classifier.models:
            model.workers.forget_dead()
            model.metrics.ready(model.workers.ready)
            silent = model.workers.idle_seconds
            # Under load only when nothing comes back that counts, say nothing but bad images.
            after = UNDER_LOAD_SECONDS if model.admission.dispatched else CANARY_AFTER_SECONDS
            if silent > after:
                self._send_canary(model)
        await self._tell(self._classifier.models.ready and not self.closing)

    async def close(self) -> None:
        """Not ready from now on: the service is going to drain."""
        self.closing = True
        await self._tell(False)

    async def _tell(self, ready: bool) -> None:
        self._metrics.ready.set(ready)
        status = HealthCheckResponse.SERVING if ready else HealthCheckResponse.NOT_SERVING
        for service in SERVICES:
            await self.health.set(service, status)
        if ready != self.ready:
            self.ready = ready
            self._lost_at = math.inf if ready else time.monotonic()
            waiting = [model.name for model in self._classifier.models if not model.workers.ready]
            log.info("ready" if ready else "not ready", waiting_for=waiting, closing=self.closing)
        if ready:
            self.became_ready.set()

    def _send_canary(self, model: ServedModel) -> None:
        if (running := self._canaries.get(model)) is None or running.done():
            self._canaries[model] = asyncio.create_task(self._canary(model))

    async def _canary(self, model: ServedModel) -> None:
        with contextlib.suppress(ServingError):  # logged where it was raised; the model just stays not ready
            await self._classifier.canary(model, CANARY)
