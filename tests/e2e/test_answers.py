"""Real images through the real service, over every way in."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import grpc
import pytest
import torch

import swinserve
from swin_handler.engine import backends
from swin_proto.v1.classifier_pb2 import ClassifyStreamRequest, Image
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub
from tests.e2e.reflected import ReflectedClient
from tests.e2e.running import SWINSERVE, Running, curl, get, until


def by_curl(path: Path, *url: str) -> dict:
    return json.loads(curl("--fail-with-body", "--data-binary", f"@{path}", "-H", "content-type: image/png", *url))


def test_curl_reflection_command_line_and_torchserve_give_the_same_answer(shared: Running, digit: Path) -> None:
    rest = by_curl(digit, f"{shared.http}/v1/models/swin_digits:classify")["results"][0]["predictions"][0]
    client = ReflectedClient(shared.grpc)
    request = {"model": "swin_digits", "images": [{"content": base64.b64encode(digit.read_bytes()).decode()}]}
    reflected = client.call("swinserve.v1.Classifier/Classify", request)["results"][0]["predictions"]["predictions"][0]
    client.close()
    command = [SWINSERVE, "classify", digit, "--server", shared.grpc, "--json"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    command_line = json.loads(printed)["predictions"][0]
    torchserve = by_curl(digit, *shared.torchserve("/predictions/swin_digits"))
    label, score = next(iter(torchserve.items()))

    assert {rest["label"], reflected["label"], command_line["label"], label} == {digit.name.split("-")[0]}
    for other in (reflected["score"], command_line["score"], score):
        assert other == pytest.approx(rest["score"], abs=1e-6)


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_every_sample_is_named_right(shared: Running, samples: dict[Path, str], transport: str) -> None:
    with swinserve.Client(getattr(shared, transport)) as client:
        answer = client.classify_many(list(samples))
    assert [result.predictions[0].label for result in answer.results] == list(samples.values())
    assert (answer.model, answer.version, answer.dtype) == ("swin_digits", "1.0", backends.dtype(torch.device("cpu")))
    timing = answer.timing
    assert min(timing.queue, timing.batch_wait, timing.decode, timing.inference) >= 0


def test_multipart_json_and_versioned_paths_answer_alike(shared: Running, digit: Path) -> None:
    raw = by_curl(digit, f"{shared.http}/v1/classify?top_k=3")["results"]
    versioned = by_curl(digit, f"{shared.http}/v1/models/swin_digits/versions/1.0:classify?top_k=3")["results"]
    form = ["-F", f"images=@{digit}", "-F", f"images=@{digit}"]
    url = f"{shared.http}/v1/models/swin_digits:classify?top_k=3"
    multipart = json.loads(curl(*form, url))["results"]
    body = json.dumps({"images": [{"content": base64.b64encode(digit.read_bytes()).decode()}]})
    from_json = json.loads(curl("-H", "content-type: application/json", "-d", body, url))["results"]
    assert len(raw[0]["predictions"]) == 3
    for one in (versioned[0], multipart[0], multipart[1], from_json[0]):
        assert [each["label"] for each in one["predictions"]] == [each["label"] for each in raw[0]["predictions"]]
        assert one["predictions"][0]["score"] == pytest.approx(raw[0]["predictions"][0]["score"], abs=1e-6)


def test_min_score_leaves_out_the_unlikely(shared: Running, digit: Path) -> None:
    with swinserve.Client(shared.grpc) as client:
        every = client.classify(digit, top_k=10).results[0].predictions
        likely = client.classify(digit, top_k=10, min_score=0.5).results[0].predictions
    assert len(every) == 10
    assert sum(each.score for each in every) == pytest.approx(1, abs=1e-5)
    assert [each for each in every if each.score >= 0.5] == list(likely)


def test_a_stream_answers_each_image_under_its_id(shared: Running, samples: dict[Path, str]) -> None:
    requests = [
        ClassifyStreamRequest(id=f"{turn}/{path.name}", image=Image(content=path.read_bytes()))
        for turn in range(20)
        for path in samples
    ]
    requests.insert(7, ClassifyStreamRequest(id="bad", image=Image(content=b"no image")))
    with grpc.insecure_channel(shared.grpc.removeprefix("grpc://")) as channel:
        answers = {each.id: each for each in ClassifierStub(channel).ClassifyStream(iter(requests), timeout=60)}
    assert len(answers) == len(requests)
    assert answers.pop("bad").result.error.reason == "UNSUPPORTED_TYPE"
    for name, answer in answers.items():
        assert answer.result.predictions.predictions[0].label == Path(name).name.split("-")[0]


def test_reflection_lists_the_services_and_health_says_serving(shared: Running) -> None:
    client = ReflectedClient(shared.grpc)
    services = client.services()
    assert {"swinserve.v1.Classifier", "grpc.health.v1.Health"} <= set(services)
    for name in ("", "swinserve.v1.Classifier"):
        assert client.call("grpc.health.v1.Health/Check", {"service": name}) == {"status": "SERVING"}
    client.close()


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_the_model_is_described(shared: Running, transport: str) -> None:
    with swinserve.Client(getattr(shared, transport)) as client:
        (model,) = client.models()
        assert client.model("swin_digits", "1.0") == model
        with pytest.raises(swinserve.NotFound):
            client.model("swin_giant")
    assert model.ready
    assert model.labels[:2] == ("zero", "one")
    assert (model.input_height, model.input_width) == (32, 32)
    assert model.backend in backends.safe(torch.device("cpu"))
    assert list(model.batch_buckets) == [1, 2, 4, 8]
    assert "swin_digits" in model.weights
    assert model.parameters < 250_000
    assert model.multiply_adds > model.parameters


def test_metrics_count_what_happened(shared: Running, digit: Path) -> None:
    def count(line: str) -> float:
        return sum(float(each.rpartition(" ")[2]) for each in get(shared.metrics).splitlines() if each.startswith(line))

    requests = 'swinserve_requests_total{method="Classify",model="swin_digits",outcome="ok",protocol="rest"'
    before = count(requests)
    with swinserve.Client(shared.http) as client:
        client.classify(digit)
    until(lambda: count(requests) == before + 1, 5)
    for series in (
        "swinserve_ready 1",
        'swinserve_stage_seconds_count{model="swin_digits",stage="inference"',
        'swinserve_batch_images_count{model="swin_digits"',
    ):
        assert count(series) > 0
    assert count("swinserve_in_flight_requests") == 0
    assert count("swinserve_queue_images") == 0
    assert 'swinserve_compile_events_total{model="swin_digits"' in get(shared.metrics)
    assert count("swinserve_compile_events_total") == 0


def test_the_documentation_page_needs_nothing_from_outside(shared: Running) -> None:
    page = get(f"{shared.http}/docs")
    assert "https://" not in page
    assert "http://" not in page
    assert "static-offline-docs/swagger-ui-bundle.js" in page
