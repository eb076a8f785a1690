"""OpenTelemetry's own variables -> a span for each call with its stages below; off while they name no receiver.

    call (SERVER, continues the caller's traceparent)
     ├── queue       in the gateway
     ├── batch wait  dispatch to the worker's handler
     ├── decode      of the whole batch
     └── inference   of the whole batch

The stages are told after the fact, from the times that every answer brings, so nothing is added to the worker.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from threading import Thread
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN, NoOpTracer, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from swin_gateway.errors import StartError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

FLUSH_SECONDS = 2.0
CONTEXT = TraceContextTextMapPropagator()
# A line for each malformed tracestate would let callers fill the log.
logging.getLogger("opentelemetry.trace").setLevel(logging.ERROR)
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


class Trace:
    """One call's span; all of it costs next to nothing when nobody listens."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span

    @property
    def id(self) -> str:
        """32 hex digits; empty if the call is not recorded."""
        return trace.format_trace_id(self._span.get_span_context().trace_id) if self._span.is_recording() else ""

    def describe(self, name: str, **facts: str) -> None:
        if not self._span.is_recording():
            return
        self._span.update_name(name)
        self._span.set_attributes({f"swinserve.{key}": value for key, value in facts.items()})

    def failed(self, reason: str) -> None:
        """The failure is the service's own, not the caller's."""
        self._span.set_status(Status(StatusCode.ERROR, reason))

    def stages(self, begin: float, ends: Mapping[str, float], **facts: int) -> None:
        """Adds a finished span for each, from the end of the one before (or `begin`) to its own; monotonic seconds."""
        if not self._span.is_recording():
            return
        context = trace.set_span_in_context(self._span)
        offset = time.time() - time.monotonic()
        for name, end in ends.items():
            attributes = {f"swinserve.{key}": value for key, value in facts.items()}
            start = _nanoseconds(begin + offset)
            self._tracer.start_span(name, context, attributes=attributes, start_time=start).end(
                _nanoseconds(end + offset)
            )
            begin = end


NO_TRACE = Trace(NoOpTracer(), INVALID_SPAN)


class Tracing:
    """The tracer of one service."""

    def __init__(self, provider: TracerProvider | None = None, exporter: SpanExporter | None = None) -> None:
        """provider: None traces nothing; exporter: the provider's"""
        self._provider = provider
        self._exporter = exporter
        self._tracer = provider.get_tracer("swinserve") if provider else None

    @classmethod
    def from_environment(cls) -> Tracing:
        """Raises StartError when the variables ask for what there is not."""
        try:
            exporter = _exporter()
            return cls() if exporter is None else cls(_provider(exporter), exporter)
        except StartError:
            raise
        except Exception as error:  # whatever a library makes of a variable that it cannot use
            raise StartError(f"OpenTelemetry's variables cannot be used: {error}") from error

    @contextmanager
    def call(self, headers: Mapping[str, Any] | None) -> Iterator[Trace]:
        """Around one call; `headers` have names in lower case, None is not traced."""
        if self._tracer is None or headers is None:
            yield NO_TRACE
            return
        span = self._tracer.start_span("call", CONTEXT.extract(headers), SpanKind.SERVER)
        try:
            yield Trace(self._tracer, span)
        finally:
            span.end()

    def close(self) -> None:
        """Sends what is left, within two seconds or not at all: the SDK's own flush waits as long as its retries."""
        if self._provider is None or self._exporter is None:
            return
        flush = Thread(target=self._provider.force_flush, daemon=True)
        flush.start()
        flush.join(FLUSH_SECONDS)
        self._exporter.shutdown()  # which ends retries under way
        if not flush.is_alive():
            self._provider.shutdown()


def _provider(exporter: SpanExporter) -> TracerProvider:
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    ours = Resource.create({SERVICE_NAME: "swinserve", SERVICE_VERSION: version("swinserve")})
    provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _exporter() -> SpanExporter | None:
    chosen = os.environ.get("OTEL_TRACES_EXPORTER") or ("otlp" if any(map(os.environ.get, ENDPOINTS)) else "none")
    if chosen == "none" or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if chosen != "otlp":
        raise StartError(f"OTEL_TRACES_EXPORTER={chosen}: there are otlp and none")
    protocol = next(filter(None, map(os.environ.get, PROTOCOLS)), "grpc")
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc

        return Grpc()
    if protocol == "http/protobuf":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http

        return Http()
    raise StartError(f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}: there are grpc and http/protobuf")


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
