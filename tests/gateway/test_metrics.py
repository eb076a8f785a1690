from __future__ import annotations

import asyncio
import time

import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from swin_gateway.errors import DeadlineUnreachable, ModelNotFound, Overloaded
from swin_gateway.metrics import Metrics
from swin_proto.v1.classifier_pb2 import ClassifyRequest, GetModelRequest
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub
from swin_proto.worker.v1.job_pb2 import Answer

from .assembly import PNG, Gateway, call, gateway, until
from .samples import archive_of

ENDS = {
    "counter": ("_total",),
    "histogram": ("_seconds", "_images"),
    "gauge": ("_images", "_requests", "ready", "_info", "_fallback", "_bytes"),
}
DIGITS = {"model": "digits", "version": "1.0"}
GET_MODEL = {"protocol": "grpc", "method": "GetModel"}


async def test_every_name_has_our_prefix_and_ends_in_its_base_unit(served: Gateway) -> None:
    await served.classifier.classify(call())
    served.metrics.build_info.info({"swinserve": "0"})
    text = generate_latest(served.metrics.registry).decode()
    found = text_string_to_metric_families(text)
    # process_* are named by prometheus_client, as every Python program's.
    families = [each for each in found if not each.name.endswith("_created") and not each.name.startswith("process_")]
    assert len(families) >= 19
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert name.startswith("swinserve_")
        assert name.endswith(ENDS[family.type]), name
        assert family.documentation


async def test_model_series_carry_model_and_version(served: Gateway) -> None:
    await served.classifier.classify(call())
    per_model = ("images", "stage", "batch", "queue", "expired", "abandoned", "shed")
    per_model += ("dispatched", "model_", "compile", "engine")
    for family in served.metrics.registry.collect():
        for sample in family.samples:
            if sample.name.removeprefix("swinserve_").startswith(per_model):
                assert sample.labels.items() >= DIGITS.items(), sample.name


def test_a_batch_is_counted_once_though_each_of_its_images_brings_it() -> None:
    metrics = Metrics()
    model = metrics.for_model("digits", "1.0")

    def take(pid: int, entered_at: float, size: int, padded: int) -> None:
        model.batch(Answer(worker_pid=pid, entered_at=entered_at, batch_size=size, padded_size=padded))

    for _ in range(3):
        take(1, 10.0, 3, 4)
    take(1, 11.0, 2, 2)
    take(2, 10.0, 1, 1)  # another worker at the same instant
    take(1, 11.0, 2, 2)
    take(1, 12.0, 0, 0)  # a batch of which no image reached the forward pass
    value = metrics.registry.get_sample_value
    assert value("swinserve_batch_images_count", DIGITS) == 3
    assert value("swinserve_batch_images_sum", DIGITS) == 6
    assert value("swinserve_batch_padding_images_sum", DIGITS) == 1


async def test_what_serves_is_told_as_labels_and_replaced_when_it_changes(served: Gateway) -> None:
    await served.classifier.classify(call())
    for _ in range(2):
        (sample,) = next(iter(served.metrics.model_info.collect())).samples
        assert sample.labels == DIGITS | {
            "backend": "eager",
            "dtype": "float32",
            "architecture": "swin_nano",
            "weights": "random",
        }
        await served.classifier.classify(call())


async def test_names_that_callers_make_up_do_not_become_labels(served: Gateway) -> None:
    unknown = {"protocol": "rest", "method": "Classify", "model": "", "version": "", "outcome": "model_not_found"}

    def series() -> int:
        return sum(len(family.samples) for family in served.metrics.registry.collect())

    async with served.rest() as client, served.grpc() as channel:
        stub = ClassifierStub(channel)

        async def ask(number: int) -> None:
            name = f"made-up-{number}"
            await client.post(f"/v1/models/{name}:classify", content=PNG)
            await client.get(f"/v1/models/{name}/versions/{number}")
            await client.get(f"/{name}")
            if number % 10 == 0:  # the slower of the two
                for refused in (
                    stub.Classify(ClassifyRequest(model=name)),
                    stub.GetModel(GetModelRequest(version=name)),
                ):
                    assert (await refused.code()).name == "NOT_FOUND"

        await ask(0)
        await until(lambda: served.value("requests_total", **(unknown | {"protocol": "grpc"})) == 1)
        await until(lambda: served.value("requests_total", **(unknown | GET_MODEL)) == 1)
        before = series()
        for number in range(1, 1000):
            await ask(number)
    assert series() == before
    assert served.value("requests_total", **unknown) == 1000
    assert "made-up" not in generate_latest(served.metrics.registry).decode()


async def test_two_models_have_series_of_their_own() -> None:
    served = gateway([archive_of("a"), archive_of("b")])
    await served.classifier.classify(call(model="b"))
    assert served.value("images_total", model="b", version="1.0", outcome="ok") == 1
    assert served.value("images_total", model="a", version="1.0", outcome="ok") == 0
    with pytest.raises(ModelNotFound):
        await served.classifier.classify(call(model="c"))


async def test_work_that_is_refused_is_counted_by_why() -> None:
    served = gateway(queue_size=8)
    admission = served.model.admission
    with pytest.raises(Overloaded):
        admission.admit(9, caller="a")
    admission._seconds_per_image = 1.0
    served.workers.gate.clear()
    under_way = [
        asyncio.create_task(served.classifier.classify(call())) for _ in range(4)
    ]  # as many as there are slots
    await until(lambda: served.value("dispatched_images", **DIGITS) == 4)
    with pytest.raises(DeadlineUnreachable):
        admission.admit(2, caller="a", deadline=time.monotonic() + 1)
    assert served.value("shed_images_total", cause="queue_full", **DIGITS) == 9
    assert served.value("shed_images_total", cause="deadline", **DIGITS) == 2
    served.workers.gate.set()
    await asyncio.gather(*under_way)
    await until(lambda: served.value("dispatched_images", **DIGITS) == 0)


def test_a_traced_call_leaves_its_id_as_the_exemplar_of_its_bucket() -> None:
    metrics = Metrics()
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    metrics.call("grpc", "Classify", "digits", "1.0", "ok", 0.0042, trace_id=trace_id)
    metrics.call("grpc", "Classify", "digits", "1.0", "ok", 3.0)
    text = openmetrics.generate_latest(metrics.registry).decode()
    found = [line for line in text.splitlines() if "# {" in line]
    assert len(found) == 1
    assert 'le="0.005"' in found[0]
    assert f'# {{trace_id="{trace_id}"}} 0.0042' in found[0]
