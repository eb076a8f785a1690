"""What happened -> Prometheus series, in one registry of the gateway's own.

Workers return their stage seconds and batch facts inside their answers, so every series is kept here. Labels are names
the service was started with, never a caller's words, so their number is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from swin_proto.worker.v1.job_pb2 import Answer

# Resolves 1 ms and 10 ms, where an idle GPU or CPU answers, and reaches the default deadline.
SECONDS: tuple[float, ...] = (
    *(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
# What the alert rules count.
OUTCOMES = (
    *("ok", "internal", "not_ready", "draining", "worker_lost"),
    *("overloaded", "deadline_unreachable", "deadline_exceeded"),
)
# Protocols and methods that classify.
WORK = (
    *(("grpc", "Classify"), ("rest", "Classify"), ("grpc", "ModelInfer"), ("rest", "ModelInfer")),
    ("rest", "Predictions"),
)
# Why a connection is closed for what its client does.
CLOSED_FOR = ("too_many", "headers_too_large", "invalid_request", "too_slow", "stalled_body", "stalled_answer")
IMAGES = (0, 1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The registry and its families; `for_model` binds them to one model version."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        model = ["model", "version"]

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"swinserve_{name}", text, labels, registry=self.registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"swinserve_{name}", text, labels, registry=self.registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"swinserve_{name}", text, labels, registry=self.registry, buckets=buckets)

        self.requests = counter("requests_total", "Calls by outcome", "protocol", "method", *model, "outcome")
        self.request_seconds = histogram(
            "request_seconds",
            "Whole call, first byte of it read to answer ready",
            SECONDS,
            "protocol",
            "method",
            *model,
        )
        self.images = counter("images_total", "Images by outcome", *model, "outcome")
        self.stage_seconds = histogram("stage_seconds", "Time of one image's stage", SECONDS, *model, "stage")
        self.batch_images = histogram("batch_images", "Images that reached one forward pass", IMAGES, *model)
        self.batch_padding = histogram("batch_padding_images", "Images added to fill a batch bucket", IMAGES, *model)
        self.shed = counter("shed_images_total", "Images refused at once", *model, "cause")
        self.expired = counter("expired_images_total", "Images not computed: too late", *model)
        self.abandoned = counter(
            "abandoned_images_total", "Images dispatched whose answer nobody waited for", *model, "cause"
        )
        self.sent_again = counter("sent_again_images_total", "Images sent once more, their worker being lost", *model)
        self.compile_events = counter("compile_events_total", "Compiled by workers that were ready: stays 0", *model)
        self.engine_fallback = gauge("engine_fallback", "1 while a safe default serves, not what was tuned", *model)
        self.closed_connections = counter("closed_connections_total", "Of REST, for what their clients did", "cause")
        for cause in CLOSED_FOR:
            self.closed_connections.labels(cause)
        self.pending_bytes = gauge("pending_bytes", "Of all requests that wait or are being read")
        self.in_flight = gauge("in_flight_requests", "Calls being answered now")
        self.queue_depth = gauge("queue_images", "Images waiting in the queue", *model)
        self.dispatched = gauge("dispatched_images", "Images that TorchServe has now", *model)
        self.model_ready = gauge("model_ready", "1 while a live worker answers", *model)
        self.ready = gauge("ready", "1 while every model is ready and the service is not draining")
        self.model_info = Info("swinserve_model", "What serves a model version", model, registry=self.registry)
        self.build_info = Info("swinserve_build", "Versions", registry=self.registry)
        ProcessCollector(registry=self.registry)  # the gateway's own memory, descriptors and CPU time

    def call(
        self, protocol: str, method: str, model: str, version: str, outcome: str, seconds: float, *, trace_id: str = ""
    ) -> None:
        """Counts one call; `model` and `version` are the served ones, empty when none was found.

        trace_id: of a call that is traced; becomes the exemplar of its bucket
        """
        self.requests.labels(protocol, method, model, version, outcome).inc()
        exemplar = {"trace_id": trace_id} if trace_id else None
        self.request_seconds.labels(protocol, method, model, version).observe(seconds, exemplar)

    def connection_closed(self, cause: str) -> None:
        """cause: one of CLOSED_FOR"""
        self.closed_connections.labels(cause).inc()

    def for_model(self, name: str, version: str) -> ModelMetrics:
        self._begin_at_zero(name, version)
        return ModelMetrics(self, name, version)

    def _begin_at_zero(self, model: str, version: str) -> None:
        """A series that is born with its first event hides it: a rate needs the zero before."""
        for outcome in OUTCOMES:
            self.images.labels(model, version, outcome)
            for protocol, method in WORK:
                self.requests.labels(protocol, method, model, version, outcome)
                self.requests.labels(protocol, method, "", "", outcome)  # refused before it named one


class ModelMetrics:
    """The series of one model version."""

    def __init__(self, metrics: Metrics, name: str, version: str) -> None:
        self._labels = (name, version)
        stages = ("queue", "batch_wait", "decode", "inference")
        self._stages = {stage: metrics.stage_seconds.labels(*self._labels, stage) for stage in stages}
        self._batch_images = metrics.batch_images.labels(*self._labels)
        self._batch_padding = metrics.batch_padding.labels(*self._labels)
        self._queue_depth = metrics.queue_depth.labels(*self._labels)
        self._dispatched = metrics.dispatched.labels(*self._labels)
        self._shed = {cause: metrics.shed.labels(*self._labels, cause) for cause in ("queue_full", "deadline")}
        for cause in ("caller", "deadline"):  # a rate needs the zero before the first one
            metrics.abandoned.labels(*self._labels, cause)
        self._expired = metrics.expired.labels(*self._labels)
        self._sent_again = metrics.sent_again.labels(*self._labels)
        self._compile_events = metrics.compile_events.labels(*self._labels)
        self._engine_fallback = metrics.engine_fallback.labels(*self._labels)
        self._metrics = metrics
        self._last_batch: dict[int, float] = {}  # worker pid -> entered_at of its last batch seen

    def answered(self, stages: Mapping[str, float]) -> None:
        """An image was, after so many seconds in each stage."""
        self.image("ok")
        for stage, seconds in stages.items():
            self._stages[stage].observe(seconds)

    def batch(self, answer: Answer) -> None:
        """Counts the batch of this answer once, though each image of the batch brings it."""
        if self._last_batch.get(answer.worker_pid) == answer.entered_at or not answer.batch_size:
            return
        self._last_batch[answer.worker_pid] = answer.entered_at
        self._batch_images.observe(answer.batch_size)
        self._batch_padding.observe(answer.padded_size - answer.batch_size)

    def image(self, outcome: str) -> None:
        self._metrics.images.labels(*self._labels, outcome).inc()

    def queue_depth(self, images: int) -> None:
        self._queue_depth.set(images)

    def dispatched(self, images: int) -> None:
        self._dispatched.set(images)

    def shed(self, cause: str, images: int) -> None:
        """cause: queue_full, or deadline where that could not have been met"""
        self._shed[cause].inc(images)

    def expired(self) -> None:
        self._expired.inc()

    def abandoned(self, cause: str) -> None:
        self._metrics.abandoned.labels(*self._labels, cause).inc()

    def sent_again(self) -> None:
        self._sent_again.inc()

    def compiled(self, compiles: int) -> None:
        self._compile_events.inc(compiles)

    def fallback(self, serves: bool) -> None:
        """Whether a safe default serves."""
        self._engine_fallback.set(serves)

    def ready(self, ready: bool) -> None:
        self._metrics.model_ready.labels(*self._labels).set(ready)

    def describe(self, **facts: str) -> None:
        self._metrics.model_info.labels(*self._labels).info(facts)
