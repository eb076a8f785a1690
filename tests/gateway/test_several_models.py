"""Several models and versions at once: each call its own, each with its own labels, unknown ones told what there is."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import pytest

from swin_proto.v1.classifier_pb2 import ClassifyRequest, ClassifyStreamRequest, GetModelRequest, Image
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub

from .assembly import PNG, Gateway, gateway
from .samples import HEADLESS, archive_of

UNKNOWN = [
    ("huge", "", "no model 'huge' is served here"),
    ("birds", "3", "no model 'birds@3' is served here"),
    ("birds@1", "", "no model 'birds@1' is served here"),
]
SERVED = "served: digits@1.0, birds@1, birds@2, features@1"


@pytest.fixture
async def several() -> Gateway:
    return gateway(
        [
            archive_of(),
            archive_of("birds", "1", labels=("owl", "wren", "tern")),
            archive_of("birds", "2", labels=("Eule", "Zaunkönig", "Seeschwalbe")),
            archive_of("features", "1", **HEADLESS),
        ]
    )


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/v1/classify", "two"),
        ("/v1/models/digits:classify", "two"),
        ("/v1/models/birds:classify", "tern"),
        ("/v1/models/birds/versions/1:classify", "tern"),
        ("/v1/models/birds/versions/2:classify", "Seeschwalbe"),
    ],
)
async def test_rest_answers_in_the_labels_of_the_model_asked_for(several: Gateway, path: str, label: str) -> None:
    async with several.rest() as client:
        body = (await client.post(path, content=PNG)).json()
    assert body["results"][0]["predictions"][0]["label"] == label
    assert several.workers.asked == [(body["model"], body["version"])]


async def test_one_stream_may_ask_all_of_them(several: Gateway) -> None:
    asked = [("", ""), ("birds", ""), ("birds", "2"), ("features", ""), ("huge", ""), ("birds", "3")]
    requests = [
        ClassifyStreamRequest(id=str(number), model=model, version=version, image=Image(content=PNG))
        for number, (model, version) in enumerate(asked)
    ]
    async with several.grpc() as channel:
        answers = {each.id: each async for each in ClassifierStub(channel).ClassifyStream(iter(requests))}
    found = [answers[str(number)] for number in range(len(asked))]
    assert [(each.model, each.version) for each in found[:4]] == [
        *(("digits", "1.0"), ("birds", "1"), ("birds", "2"), ("features", "1"))
    ]
    assert [each.result.predictions.predictions[0].label for each in found[:3]] == ["two", "tern", "Seeschwalbe"]
    assert found[3].result.predictions.HasField("embedding")
    for each in found[4:]:
        assert (each.result.error.code, each.result.error.reason) == (5, "MODEL_NOT_FOUND")
        assert SERVED in each.result.error.message


@pytest.mark.parametrize(("model", "version", "said"), UNKNOWN)
@pytest.mark.parametrize("method", ["Classify", "GetModel"])
async def test_grpc_tells_an_unknown_model_or_version_what_is_served(
    several: Gateway, method: str, model: str, version: str, said: str
) -> None:
    asked: Any = GetModelRequest(model=model, version=version)
    if method == "Classify":
        asked = ClassifyRequest(model=model, version=version, images=[Image(content=PNG)])
    async with several.grpc() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await getattr(ClassifierStub(channel), method)(asked)
    assert refusal.value.code() == grpc.StatusCode.NOT_FOUND
    assert f"{said}; {SERVED}" in (refusal.value.details() or "")


@pytest.mark.parametrize(("model", "version", "said"), UNKNOWN)
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_rest_tells_an_unknown_model_or_version_what_is_served(
    several: Gateway, method: str, model: str, version: str, said: str
) -> None:
    path = f"/v1/models/{model}" + (f"/versions/{version}" if version else "")
    async with several.rest() as client:
        if method == "POST":
            response = await client.post(f"{path}:classify", content=PNG)
        else:
            response = await client.get(path)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["reason"]) == (404, "NOT_FOUND", "MODEL_NOT_FOUND")
    assert f"{said}; {SERVED}" in error["message"]


async def test_each_model_describes_its_own_labels(several: Gateway) -> None:
    async with several.rest() as client:
        listed = (await client.get("/v1/models")).json()["models"]
    assert [each["labels"][:1] for each in listed] == [["zero"], ["owl"], ["Eule"], []]
    assert [each["versions"] for each in listed] == [["1.0"], ["1", "2"], ["1", "2"], ["1"]]


async def test_the_queue_of_one_is_not_the_queue_of_another() -> None:
    served = gateway([archive_of("a"), archive_of("b")], queue_size=1)
    served.models[0].admission.admit(1, caller="")
    async with served.rest() as client:
        full = await client.post("/v1/models/a:classify", content=PNG)
        free = await client.post("/v1/models/b:classify", content=PNG)
    assert (full.status_code, free.status_code) == (429, 200)
