"""With the real exporter and a receiver it reaches over the network."""

from __future__ import annotations

import itertools
import re
import time

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from structlog.testing import capture_logs

from swin_gateway.errors import StartError
from swin_gateway.tracing import NO_TRACE, Tracing
from swin_proto.v1.classifier_pb2 import ClassifyRequest, ClassifyStreamRequest, Image
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub
from swin_proto.worker.v1.job_pb2 import Error

from .assembly import PNG, Gateway, error_to, gateway, until
from .otlp_receiver import Received, attributes, receiving_grpc, receiving_http

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
STAGES = ["queue", "batch wait", "decode", "inference"]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENDPOINT", "PROTOCOL", "TRACES_ENDPOINT", "TRACES_PROTOCOL"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)


async def traced(received: Received, protocol: str, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received.endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    return gateway(tracing=Tracing.from_environment())


def assert_stages_below(call: Span, stages: list[Span]) -> None:
    """Each begins where the one before ended."""
    assert [stage.name for stage in stages] == STAGES
    assert {(stage.parent_span_id, stage.trace_id) for stage in stages} == {(call.span_id, call.trace_id)}
    for one, other in itertools.pairwise(stages):
        assert one.start_time_unix_nano <= one.end_time_unix_nano == other.start_time_unix_nano
    assert abs(stages[2].end_time_unix_nano - stages[2].start_time_unix_nano - 1e6) < 1e4  # the fake worker's times
    assert abs(stages[3].end_time_unix_nano - stages[3].start_time_unix_nano - 2e6) < 1e4
    assert attributes(stages[3]) == {"swinserve.batch_size": 1, "swinserve.padded_size": 2}


async def test_a_rest_call_continues_the_callers_trace_and_tells_its_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving_http() as received:
        served = await traced(received, "http/protobuf", monkeypatch)
        headers = {"traceparent": TRACEPARENT, "x-request-id": "r-7"}
        async with served.rest() as client:
            with capture_logs() as logs:
                assert (await client.post("/v1/classify", content=PNG, headers=headers)).status_code == 200
            assert (await client.get("/livez")).status_code == 200
            assert (await client.get("/v1/models", headers=headers)).status_code == 200
        served.calls._tracing.close()
        call, *stages = received.spans
        assert received.service["service.name"] == "swinserve"
    assert (call.name, call.trace_id.hex(), call.parent_span_id.hex()) == ("Classify", TRACE, PARENT)
    assert attributes(call) == {
        "swinserve.protocol": "rest",
        "swinserve.outcome": "ok",
        "swinserve.request_id": "r-7",
        "swinserve.model": "digits",
        "swinserve.version": "1.0",
    }
    assert_stages_below(call, stages)
    assert logs[0]["trace_id"] == TRACE


async def test_a_grpc_call_does_so_too_and_a_stream_has_the_stages_of_each_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with receiving_grpc() as received:
        served = await traced(received, "grpc", monkeypatch)
        async with served.grpc() as channel:
            stub = ClassifierStub(channel)
            await stub.Classify(ClassifyRequest(images=[Image(content=PNG)]), metadata=(("traceparent", TRACEPARENT),))
            stream = stub.ClassifyStream(iter([ClassifyStreamRequest(image=Image(content=PNG))] * 3))
            assert len([answer async for answer in stream]) == 3
            counted = {"protocol": "grpc", "method": "ClassifyStream", "model": "", "version": "", "outcome": "ok"}
            await until(lambda: served.value("requests_total", **counted))
        served.calls._tracing.close()
        call, *stages = [span for span in received.spans if span.trace_id.hex() == TRACE]
        (stream_call,) = [span for span in received.spans if span.name == "ClassifyStream"]
        below = [span for span in received.spans if span.parent_span_id == stream_call.span_id]
    assert (call.name, call.parent_span_id.hex()) == ("Classify", PARENT)
    assert_stages_below(call, stages)
    assert sorted(span.name for span in below) == sorted(STAGES * 3)


async def test_a_failure_of_ours_marks_the_span_and_a_callers_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving_grpc() as received:
        served = await traced(received, "grpc", monkeypatch)
        async with served.rest() as client:
            served.workers.reply = lambda job: error_to(job, Error.INTERNAL)
            assert (await client.post("/v1/classify", content=PNG)).status_code == 500
            served.workers.reply = lambda job: error_to(job, Error.UNDECODABLE)
            assert (await client.post("/v1/classify", content=PNG)).status_code == 422
        served.calls._tracing.close()
        found = {
            attributes(span)["swinserve.outcome"]: span.status for span in received.spans if span.name == "Classify"
        }
    assert (found["internal"].code, found["internal"].message) == (2, "INTERNAL")
    assert found["undecodable"].code == 0


async def test_the_callers_choice_not_to_be_traced_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving_grpc() as received:
        served = await traced(received, "grpc", monkeypatch)
        async with served.rest() as client:
            await client.post("/v1/classify", content=PNG, headers={"traceparent": f"{TRACEPARENT[:-1]}0"})
        served.calls._tracing.close()
        assert received.spans == []


async def test_a_collector_that_is_not_there_delays_neither_answers_nor_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nobody = Received()
    nobody.endpoint = "http://127.0.0.1:1"
    served = await traced(nobody, "grpc", monkeypatch)
    async with served.rest() as client:
        assert (await client.post("/v1/classify", content=PNG)).status_code == 200
    started = time.monotonic()
    served.calls._tracing.close()
    assert time.monotonic() - started < 30  # seconds; the SDK alone would try for a minute


async def test_what_the_resource_variables_say_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=vision,team=shop")
    with receiving_grpc() as received:
        served = await traced(received, "grpc", monkeypatch)
        async with served.rest() as client:
            await client.post("/v1/classify", content=PNG)
        served.calls._tracing.close()
        assert received.service.items() >= {"service.name": "vision", "team": "shop"}.items()


async def test_a_malformed_traceparent_begins_a_trace_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_PROPAGATORS", "b3")  # not installed, and not needed
    with receiving_grpc() as received:
        served = await traced(received, "grpc", monkeypatch)
        async with served.rest() as client:
            for value in ("nonsense", "00-0-0-01", "\xe9" * 100):
                headers = {"traceparent": value.encode("latin-1"), "tracestate": b"=,=", "baggage": b"\xe9," * 9}
                assert (await client.post("/v1/classify", content=PNG, headers=headers)).status_code == 200
        served.calls._tracing.close()
        calls = [span for span in received.spans if span.name == "Classify"]
    assert [span.parent_span_id for span in calls] == [b""] * 3


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_TRACES_EXPORTER": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_it_is_off_unless_asked_for(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with Tracing.from_environment().call({"traceparent": TRACEPARENT}) as trace:
        assert trace is NO_TRACE


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER=zipkin: there are otlp and none"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_TIMEOUT": "ten"},
            "OpenTelemetry's variables cannot be used: could not convert string to float: 'ten'",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            "http/json: there are grpc and http/protobuf",
        ),
    ],
)
def test_what_is_not_there_is_refused_by_name(
    variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StartError, match=re.escape(message)):
        Tracing.from_environment()
