"""What one request leaves behind in a collector, in the log and in Prometheus's own format, from the real processes."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import swinserve
from tests.e2e.running import Running, service, until
from tests.gateway.otlp_receiver import Received, attributes, receiving_grpc

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STAGES = ["queue", "batch wait", "decode", "inference"]


@pytest.fixture(scope="module")
def collector() -> Iterator[Received]:
    with receiving_grpc() as received:
        yield received


@pytest.fixture(scope="module")
def running(store: Path, tmp_path_factory: pytest.TempPathFactory, collector: Received) -> Iterator[Running]:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    folder = tmp_path_factory.mktemp("traced")
    with service(
        folder, "swin_digits", "--model-store", store, "--log-level", "debug", environment=variables
    ) as running:
        yield running


def lines(running: Running) -> list[dict[str, object]]:
    return [json.loads(line) for line in running.log.splitlines()]


def test_a_request_is_one_trace_from_the_caller_to_the_forward_pass(
    running: Running, collector: Received, digit: Path
) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "traced-1"}
    answer = httpx.post(f"{running.http}/v1/classify", content=digit.read_bytes(), headers=headers, timeout=60)
    assert answer.status_code == 200
    until(lambda: len([span for span in collector.spans if span.trace_id.hex() == TRACE]) == 5, 20)
    call, *stages = [span for span in collector.spans if span.trace_id.hex() == TRACE]
    print(f"{call.name} {attributes(call)}")
    for span in (call, *stages):
        begin = (span.start_time_unix_nano - call.start_time_unix_nano) / 1e6
        print(f"  {begin:8.3f} ms  {(span.end_time_unix_nano - span.start_time_unix_nano) / 1e6:8.3f} ms  {span.name}")
    assert call.parent_span_id.hex() == PARENT
    assert attributes(call)["swinserve.request_id"] == "traced-1"
    assert [span.name for span in stages] == STAGES
    assert call.start_time_unix_nano <= stages[0].start_time_unix_nano
    assert stages[-1].end_time_unix_nano <= call.end_time_unix_nano
    assert collector.service["service.name"] == "swinserve"
    # The same times in the answer's header, and the same ids in the log.
    timing = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    assert list(timing) == ["queue", "batch_wait", "decode", "inference"]
    took = (stages[3].end_time_unix_nano - stages[3].start_time_unix_nano) / 1e6
    assert float(timing["inference"]) == pytest.approx(took, abs=0.01)
    until(lambda: "traced-1" in running.log, 5)
    (line,) = [line for line in lines(running) if line.get("request_id") == "traced-1"]
    assert line.items() >= {"event": "call", "level": "info", "outcome": "ok", "trace_id": TRACE, "images": 1}.items()
    assert float(timing["inference"]) == pytest.approx(1000 * float(str(line["inference_seconds"])), abs=0.01)


def test_its_id_is_the_exemplar_of_its_bucket(running: Running, digit: Path) -> None:
    with swinserve.Client(running.grpc) as client:
        client.classify(digit)
    asked = urllib.request.Request(running.metrics, headers={"accept": "application/openmetrics-text; version=1.0.0"})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        text = answer.read().decode()
    assert text.endswith("# EOF\n")
    found = [
        line for line in text.splitlines() if line.startswith("swinserve_request_seconds_bucket") and "# {" in line
    ]
    assert found
    assert all('trace_id="' in line for line in found)


def test_torchserve_and_the_worker_log_into_the_same_stream_with_their_own_level(running: Running) -> None:
    entries = lines(running)
    assert all({"timestamp", "level", "logger", "event"} <= set(entry) for entry in entries)
    (ready,) = [entry for entry in entries if "swinserve worker ready" in str(entry["event"])]
    assert (ready["level"], ready["logger"], ready["source"]) == ("info", "torchserve", "MODEL_LOG")
    # The one level switch reaches TorchServe: what it calls info is shown with `--log-level debug` alone.
    assert [entry for entry in entries if entry.get("source") == "ModelManager"]


def test_without_the_variables_nothing_is_sent_and_nothing_told(store: Path, tmp_path: Path, digit: Path) -> None:
    with service(tmp_path, "swin_digits", "--model-store", store, "--access-log-rate", "0") as running:
        with swinserve.Client(running.http) as client:
            client.classify(digit)
        assert "trace_id" not in running.log
        assert not [line for line in lines(running) if line["event"] == "call"]
        assert not [line for line in lines(running) if line.get("source") == "ModelManager"]
