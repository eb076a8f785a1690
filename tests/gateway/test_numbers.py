"""Embeddings and class activation maps through both protocols, from options to the numbers of the answer."""

from __future__ import annotations

import base64
from typing import Any

import grpc
import grpc.aio
import pytest
from structlog.testing import capture_logs

from swin_gateway.errors import InternalError, TooLarge
from swin_gateway.rest_options import MAX_LISTED
from swin_proto.v1.classifier_pb2 import (
    ClassifyOptions,
    ClassifyRequest,
    ClassifyStreamRequest,
    GetModelRequest,
    Image,
    Region,
    Tensor,
)
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub

from .assembly import EMBEDDING, MAPS, PNG, REGION, Gateway, answer_to, call, floats, gateway, result_to, until
from .samples import HEADLESS, archive_of

CLASSIFY = "/v1/models/digits:classify"
UNABLE: dict[str, Any] = {"embedding_size": 0, "activation_map": None}


def request(**options: Any) -> ClassifyRequest:
    return ClassifyRequest(images=[Image(content=PNG)], options=ClassifyOptions(**options))


async def over_rest(served: Gateway, query: str, status: int = 200) -> Any:
    async with served.rest() as client:
        response = await client.post(f"{CLASSIFY}?{query}", content=PNG)
    assert response.status_code == status, response.text
    return response.json()


@pytest.mark.parametrize("embedding", [False, True])
@pytest.mark.parametrize("class_activation_map", [False, True])
async def test_the_job_asks_for_what_the_call_asks_for(
    served: Gateway, embedding: bool, class_activation_map: bool
) -> None:
    await served.classifier.classify(call(embedding=embedding, class_activation_map=class_activation_map))
    (job,) = served.workers.jobs
    assert (job.top_k, job.embedding, job.class_activation_map) == (5, embedding, class_activation_map)


async def test_grpc_brings_the_numbers_as_the_worker_gave_them(served: Gateway) -> None:
    async with served.grpc() as channel:
        response = await ClassifierStub(channel).Classify(request(embedding=True, class_activation_map=True))
    answer = response.results[0].predictions
    assert answer.embedding == Tensor(shape=[4], data=floats(*EMBEDDING))
    for each, rows in zip(answer.predictions, MAPS, strict=True):
        data = floats(*(number for row in rows for number in row))
        assert each.class_activation_map == Tensor(shape=[2, 3], data=data)
    assert answer.map_region == Region(**REGION)


async def test_a_stream_brings_them_too_and_refuses_each_message_by_itself() -> None:
    served = gateway([archive_of(), archive_of("plain", **UNABLE)])
    asked = [
        ClassifyStreamRequest(id="both", image=Image(content=PNG), options=ClassifyOptions(embedding=True, top_k=0)),
        ClassifyStreamRequest(
            id="none", model="plain", image=Image(content=PNG), options=ClassifyOptions(class_activation_map=True)
        ),
    ]
    async with served.grpc() as channel:
        answers = {each.id: each.result async for each in ClassifierStub(channel).ClassifyStream(iter(asked))}
    assert answers["both"].predictions.embedding.data == floats(*EMBEDDING)
    assert not answers["both"].predictions.predictions
    assert (answers["none"].error.code, answers["none"].error.reason) == (3, "INVALID_REQUEST")
    assert "plain@1.0 has no class activation map" in answers["none"].error.message


async def test_rest_lists_the_numbers(served: Gateway) -> None:
    body = await over_rest(served, "embedding=true&class_activation_map=true")
    (result,) = body["results"]
    assert result["embedding"] == pytest.approx(EMBEDDING)
    assert [each["class_activation_map"] for each in result["predictions"]] == [
        [list(row) for row in rows] for rows in MAPS
    ]
    assert result["map_region"] == REGION


async def test_rest_brings_the_bytes_in_base64(served: Gateway) -> None:
    body = await over_rest(served, "embedding=base64&class_activation_map=base64&top_k=1")
    (result,) = body["results"]
    assert {key: result["embedding"][key] for key in ("shape", "dtype")} == {"shape": [4], "dtype": "float32"}
    assert base64.b64decode(result["embedding"]["data"]) == floats(*EMBEDDING)
    ((prediction),) = result["predictions"]
    assert prediction["class_activation_map"]["shape"] == [2, 3]
    assert base64.b64decode(prediction["class_activation_map"]["data"]) == floats(*MAPS[0][0], *MAPS[0][1])


@pytest.mark.parametrize("query", ["", "embedding=false&class_activation_map=false"])
async def test_keys_that_were_not_asked_for_are_absent(served: Gateway, query: str) -> None:
    body = await over_rest(served, query)
    (result,) = body["results"]
    assert set(result) == {"predictions"}
    assert set(result["predictions"][0]) == {"label", "index", "score"}


async def test_the_embedding_alone_has_an_empty_list_of_predictions(served: Gateway) -> None:
    body = await over_rest(served, "embedding=true&top_k=0")
    (result,) = body["results"]
    assert result == {"predictions": [], "embedding": pytest.approx(EMBEDDING)}


@pytest.mark.parametrize(
    ("query", "changes", "said"),
    [
        ("top_k=0", {}, "asks for nothing"),
        ("top_k=0&class_activation_map=true", {}, "maps of no class"),
        ("class_activation_map=base64", {"activation_map": None}, "digits@1.0 has no class activation map to give"),
        ("embedding=true", {"embedding_size": 0}, "digits@1.0 has no embedding to give"),
        ("class_activation_map=true", HEADLESS, "it has no classes"),
        ("embedding=yes", {}, "embedding: Input should be 'false', 'true' or 'base64'"),
        ("class_activation_map=1", {}, "class_activation_map: Input should be 'false', 'true' or 'base64'"),
    ],
)
async def test_what_cannot_be_answered_is_refused_over_rest(query: str, changes: dict[str, Any], said: str) -> None:
    served = gateway([archive_of(**changes)])
    error = (await over_rest(served, query, 400))["error"]
    assert (error["code"], error["reason"]) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert said in error["message"]
    assert not served.workers.jobs


@pytest.mark.parametrize(
    ("options", "changes", "said"),
    [
        ({"top_k": 0}, {}, "asks for nothing"),
        ({"class_activation_map": True}, {"activation_map": None}, "digits@1.0 has no class activation map to give"),
        ({"embedding": True}, {"embedding_size": 0}, "digits@1.0 has no embedding to give"),
        ({"class_activation_map": True}, HEADLESS, "it has no classes"),
    ],
)
async def test_what_cannot_be_answered_is_refused_over_grpc(
    options: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    served = gateway([archive_of(**changes)])
    async with served.grpc() as channel:
        with pytest.raises(grpc.aio.AioRpcError, match=said) as refusal:
            await ClassifierStub(channel).Classify(request(**options))
    assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert not served.workers.jobs


async def test_a_refused_option_takes_no_place_in_a_full_queue() -> None:
    served = gateway([archive_of(**UNABLE)], queue_size=1)
    served.model.admission.admit(1, caller="")
    assert (await over_rest(served, "embedding=true", 400))["error"]["reason"] == "INVALID_REQUEST"


@pytest.mark.parametrize("query", ["", "embedding=false&top_k=7&min_score=0.5", "embedding=true"])
async def test_a_model_without_classes_answers_with_its_embedding_whatever_is_asked(query: str) -> None:
    served = gateway([archive_of(**HEADLESS)])
    body = await over_rest(served, query)
    assert body["results"] == [{"predictions": [], "embedding": pytest.approx(EMBEDDING)}]
    (job,) = served.workers.jobs
    assert (job.top_k, job.min_score, job.embedding, job.class_activation_map) == (0, 0.0, True, False)


async def test_a_model_without_classes_becomes_ready_by_an_embedding_of_the_canary() -> None:
    served = gateway([archive_of(**HEADLESS)], loaded=False)
    await served.readiness.look()
    await until(lambda: served.model.workers.ready)
    await served.readiness.look()
    assert served.readiness.ready
    (job,) = served.workers.jobs
    assert (job.request_id, job.top_k, job.embedding, job.expires_at) == ("canary", 0, True, 0.0)


async def test_a_canary_asks_a_model_with_classes_for_the_best_one(served: Gateway) -> None:
    await served.classifier.canary(served.model, PNG)
    (job,) = served.workers.jobs
    assert (job.top_k, job.embedding, job.class_activation_map) == (1, False, False)


async def test_a_worker_whose_embeddings_have_another_length_never_becomes_ready() -> None:
    served = gateway([archive_of(**HEADLESS, embedding_size=768)], loaded=False)
    with capture_logs() as logs, pytest.raises(InternalError):
        await served.classifier.canary(served.model, PNG)
    assert not served.model.workers.ready
    assert logs == [
        {
            "event": "answer does not fit",
            "log_level": "error",
            "model": "digits",
            "request_id": "canary",
            "why": "bytes of the embedding: 16, not 3072",
        }
    ]


async def test_an_answer_without_the_maps_asked_for_is_internal_and_logged_briefly(served: Gateway) -> None:
    served.workers.reply = lambda job: answer_to(job, results=[result_to(job, activation_maps=None)])
    with capture_logs() as logs, pytest.raises(InternalError):
        await served.classifier.classify(call(class_activation_map=True))
    assert [entry["event"] for entry in logs] == ["answer does not fit"]
    assert "shape of the maps" in logs[0]["why"]


async def test_numbers_that_json_cannot_write_are_a_bug_and_not_a_broken_body(served: Gateway) -> None:
    numbers = floats(float("nan"), 0.0, float("inf"), 0.0)
    served.workers.reply = lambda job: answer_to(job, results=[result_to(job, embedding=numbers)])
    with capture_logs() as logs:
        assert (await over_rest(served, "embedding=true", 500))["error"]["reason"] == "INTERNAL"
    assert logs[0]["event"] == "bug"
    body = await over_rest(served, "embedding=base64")
    assert base64.b64decode(body["results"][0]["embedding"]["data"]) == numbers


async def test_an_answer_that_would_be_too_large_is_refused_before_it_is_computed() -> None:
    served = gateway(max_response_bytes=3 * 48)
    asked = {"top_k": 2, "class_activation_map": True}  # 48 bytes for each image
    assert len((await served.classifier.classify(call(PNG, PNG, PNG, **asked))).results) == 3
    with pytest.raises(TooLarge, match="could have 192 bytes, more than 144; send fewer images or lower top_k"):
        await served.classifier.classify(call(PNG, PNG, PNG, PNG, **asked))
    assert len(served.workers.jobs) == 3


async def test_of_embeddings_alone_only_fewer_images_are_advised() -> None:
    served = gateway(max_response_bytes=20)
    with pytest.raises(TooLarge, match=r"could have 32 bytes, more than 20; send fewer images$"):
        await served.classifier.classify(call(PNG, PNG, embedding=True))


async def test_an_answer_of_which_a_batch_would_be_too_large_for_torchserve_is_refused() -> None:
    large = archive_of(activation_map=[1024, 1024], batch_size=8)  # a map of 4 MiB, and eight of them a batch
    served = gateway([large], max_response_bytes=2**30)
    with pytest.raises(TooLarge, match=r"one image's answer could have 8388608 bytes, more than 4194304; lower top_k"):
        await served.classifier.classify(call(PNG, top_k=2, class_activation_map=True))
    assert not served.workers.jobs


async def test_more_numbers_than_json_should_list_are_taken_in_base64() -> None:
    served = gateway([archive_of(embedding_size=MAX_LISTED + 1)], max_response_bytes=8 * MAX_LISTED)
    served.workers.reply = lambda job: answer_to(
        job, results=[result_to(job, embedding=bytes(4 * MAX_LISTED + 4) if job.embedding else b"")]
    )
    error = (await over_rest(served, "embedding=true", 413))["error"]
    assert (error["reason"], "ask for base64" in error["message"]) == ("TOO_LARGE", True)
    assert not served.workers.jobs
    body = await over_rest(served, "embedding=base64&class_activation_map=true")
    assert body["results"][0]["embedding"]["shape"] == [MAX_LISTED + 1]
    assert body["results"][0]["predictions"][0]["class_activation_map"]


@pytest.mark.parametrize(
    ("changes", "numbers"), [({}, (4, 2, 3)), ({"activation_map": None}, (4, 0, 0)), (UNABLE, (0, 0, 0))]
)
async def test_a_model_says_what_numbers_it_gives(changes: dict[str, Any], numbers: tuple[int, int, int]) -> None:
    served = gateway([archive_of(**changes)])
    names = ("embedding_size", "activation_map_height", "activation_map_width")
    async with served.grpc() as channel:
        model = await ClassifierStub(channel).GetModel(GetModelRequest())
    async with served.rest() as client:
        described = (await client.get("/v1/models/digits")).json()
        (listed,) = (await client.get("/v1/models")).json()["models"]
    assert tuple(getattr(model, name) for name in names) == numbers
    assert tuple(described[name] for name in names) == numbers
    assert listed == described


async def test_a_model_without_classes_has_no_labels() -> None:
    served = gateway([archive_of(**HEADLESS)])
    async with served.rest() as client:
        described = (await client.get("/v1/models/digits")).json()
    assert (described["labels"], described["embedding_size"]) == ([], 4)


async def test_the_openapi_description_names_the_options_their_forms_and_the_numbers(served: Gateway) -> None:
    async with served.rest() as client:
        description = (await client.get("/openapi.json")).json()
    for path in ("/v1/classify", "/v1/models/{model}:classify", "/v1/models/{model}/versions/{version}:classify"):
        parameters = {each["name"]: each for each in description["paths"][path]["post"]["parameters"]}
        assert {name for name, each in parameters.items() if each["in"] == "query"} == {
            *("top_k", "min_score", "embedding", "class_activation_map")
        }
        for name in ("embedding", "class_activation_map"):
            schema = parameters[name]["schema"]
            assert (schema["enum"], schema["default"]) == (["false", "true", "base64"], "false")
            assert "float32" in parameters[name]["description"]
        assert parameters["top_k"]["schema"]["default"] == 5
    schemas = description["components"]["schemas"]
    assert {"embedding", "map_region"} <= set(schemas["ResultJson"]["properties"])
    assert "class_activation_map" in schemas["PredictionJson"]["properties"]
    assert {"embedding_size", "activation_map_height", "activation_map_width"} <= set(schemas["ModelJson"]["required"])
