"""The Open Inference Protocol over both protocols, with a fake WorkerClient behind the classifier."""

from __future__ import annotations

import base64
import io
import json
import random
import struct
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import grpc
import httpx
import pytest
from PIL import Image

from swin_gateway import large_work, oip_grpc, oip_inference, oip_json
from swin_gateway.access import Access
from swin_gateway.body import BodyReader
from swin_gateway.errors import InvalidRequest
from swin_gateway.oip_grpc import MAX_NUMBERS
from swin_gateway.oip_json import MAX_KEYS, MAX_LISTS, MAX_VALUES
from swin_gateway.tokens import sha256
from swin_proto.oip.v2 import inference_pb2 as oip
from swin_proto.oip.v2.inference_pb2_grpc import GRPCInferenceServiceStub
from swin_proto.worker.v1.job_pb2 import Error

from .assembly import EMBEDDING, MAX_IMAGES, PNG, Gateway, answer_to, error_to, gateway
from .samples import HEADLESS, archive_of, encoded, png_claiming
from .test_grpc_api import refused

INFER = "/v2/models/digits/infer"
LENGTH = "inference-header-content-length"
TEXT = b"this is no image"
RAW = bytes(range(12))
IMAGE = {"name": "image", "datatype": "BYTES", "shape": [1]}
PIXELS = {"name": "pixels", "datatype": "UINT8", "shape": [1, 2, 2, 3]}


def listed(*images: bytes, **more: Any) -> dict[str, Any]:
    """An inference of encoded images, as JSON alone."""
    data = [base64.b64encode(image).decode() for image in images]
    return {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [len(images)], "data": data}]} | more


def elements(*images: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(image)) + image for image in images)


def behind(
    tensor: bytes, *, name: str = "image", datatype: str = "BYTES", shape: tuple[int, ...] = (1,), **more: Any
) -> dict[str, Any]:
    """What httpx posts for an inference whose one tensor is behind its JSON."""
    asked = {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(tensor)}}
    head = json.dumps({"inputs": [asked]} | more).encode()
    return {"content": head + tensor, "headers": {LENGTH: str(len(head))}}


def message(*images: bytes, **more: Any) -> oip.ModelInferRequest:
    tensor = oip.ModelInferRequest.InferInputTensor(name="image", datatype="BYTES", shape=[len(images)])
    return oip.ModelInferRequest(
        **({"model_name": "digits", "inputs": [tensor], "raw_input_contents": [elements(*images)]} | more)
    )


def outputs(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return {each["name"]: each for each in response.json()["outputs"]}


async def test_encoded_images_in_json_become_ranked_classes_in_three_tensors(served: Gateway) -> None:
    async with served.rest() as client:
        response = await client.post(INFER, json=listed(PNG, encoded("JPEG"), id="mine"))
    assert {name: each["shape"] for name, each in outputs(response).items()} == {
        "scores": [2, 2],
        "indices": [2, 2],
        "labels": [2, 2],
    }
    assert outputs(response)["labels"]["data"] == ["two", "zero"] * 2
    assert outputs(response)["indices"]["data"] == [2, 0] * 2
    assert outputs(response)["scores"]["data"] == [0.75, 0.25] * 2
    facts = {key: response.json()[key] for key in ("id", "model_name", "model_version")}
    assert facts == {"id": "mine", "model_name": "digits", "model_version": "1.0"}
    counted = {"protocol": "rest", "method": "ModelInfer", "model": "digits", "version": "1.0", "outcome": "ok"}
    assert served.value("requests_total", **counted) == 1
    assert served.images("ok") == 2


async def test_tensors_behind_the_json_are_answered_behind_the_json(served: Gateway) -> None:
    asked = behind(RAW, name="pixels", datatype="UINT8", shape=(1, 2, 2, 3), parameters={"binary_data_output": True})
    async with served.rest() as client:
        response = await client.post("/v2/models/digits/versions/1.0/infer", **asked)
    size = int(response.headers[LENGTH])
    head, tensors = json.loads(response.content[:size]), response.content[size:]
    assert [each["parameters"]["binary_data_size"] for each in head["outputs"]] == [
        8,
        16,
        len(elements(b"two", b"zero")),
    ]
    assert tensors == struct.pack("<2f2q", 0.75, 0.25, 2, 0) + elements(b"two", b"zero")
    assert served.workers.jobs[0].images[0].startswith(b"\x89PNG")


async def test_each_output_may_be_asked_for_as_bytes_or_as_a_list(served: Gateway) -> None:
    asked = [{"name": "labels", "parameters": {"binary_data": True}}, {"name": "embedding"}]
    async with served.rest() as client:
        response = await client.post(INFER, json=listed(PNG, outputs=asked, parameters={"top_k": 1}))
    size = int(response.headers[LENGTH])
    labels, embedding = json.loads(response.content[:size])["outputs"]
    assert (labels["shape"], "data" in labels) == ([1, 1], False)
    assert response.content[size:] == elements(b"two")
    assert embedding["shape"] == [1, len(EMBEDDING)]
    assert embedding["data"] == pytest.approx(EMBEDDING)
    (job,) = served.workers.jobs
    assert (job.top_k, job.embedding) == (1, True)


async def test_classification_is_written_as_triton_writes_it(served: Gateway) -> None:
    asked = [{"name": "scores", "parameters": {"classification": 2}}]
    async with served.rest() as client:
        response = await client.post(INFER, json=listed(PNG, outputs=asked))
    assert outputs(response)["scores"]["data"] == ["0.750000:2:two", "0.250000:0:zero"]
    assert outputs(response)["scores"]["datatype"] == "BYTES"


async def test_pixels_may_be_numbers_in_json_nested_or_not(served: Gateway) -> None:
    nested = [[[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]]
    async with served.rest() as client:
        for data in (nested, list(RAW)):
            tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, 2, 2, 3], "data": data}
            assert outputs(await client.post(INFER, json={"inputs": [tensor]}))
    first, second = served.workers.jobs
    assert first.images == second.images


def test_a_text_beside_deep_lists_is_not_taken_apart() -> None:
    text = "A" * 2**18
    data = f'{"[" * 20}1{"]" * 20},"{text}"'
    content = f'{{"inputs":[{{"name":"image","datatype":"BYTES","shape":[1],"data":[{data}]}}]}}'.encode()
    tracemalloc.start()
    with pytest.raises(InvalidRequest, match="base64"):
        oip_json.read(content, None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(text)  # a list of its characters would be eight times as large


async def test_what_kserves_clients_send_beside_the_protocol_is_taken(served: Gateway) -> None:
    nulls = {"id": None, "parameters": None, "outputs": None}
    asked = listed(PNG, model_name="digits") | nulls
    asked["inputs"][0]["parameters"] = None
    binary = behind(elements(PNG), model_name="digits", id="mine")
    over_grpc = message(PNG)
    over_grpc.inputs[0].parameters["binary_data_size"].int64_param = len(elements(PNG))
    async with served.rest() as client, served.grpc() as channel:
        for body in ({"json": asked}, binary):
            assert outputs(await client.post(INFER, **body))["labels"]["data"] == ["two", "zero"]
        assert (await GRPCInferenceServiceStub(channel).ModelInfer(over_grpc)).outputs
    assert [list(job.images) for job in served.workers.jobs] == [[PNG]] * 3


async def test_a_megabyte_of_pixels_over_grpc_becomes_one_image() -> None:
    served = gateway(max_image_bytes=2 * 2**20)
    tensor = oip.ModelInferRequest.InferInputTensor(name="pixels", datatype="UINT8", shape=[1, 600, 600, 3])
    asked = oip.ModelInferRequest(inputs=[tensor], raw_input_contents=[random.Random(0).randbytes(600 * 600 * 3)])
    async with served.grpc() as channel:
        await GRPCInferenceServiceStub(channel).ModelInfer(asked)
    (job,) = served.workers.jobs
    assert Image.open(io.BytesIO(job.images[0])).tobytes() == asked.raw_input_contents[0]


async def test_what_is_large_is_read_and_written_in_threads(served: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_work, "LARGE", 1)
    elsewhere: list[str] = []
    works: list[tuple[Any, str]] = [
        (oip_grpc, "read"),
        (oip_grpc, "_answer"),
        (oip_json, "read"),
        (oip_json, "write"),
        (oip_inference, "images"),
        (BodyReader, "_from_json"),
    ]

    def told(owner: Any, name: str) -> Callable[..., Any]:
        work = getattr(owner, name)

        def tell(*arguments: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                elsewhere.append(name)
            return work(*arguments)

        return tell

    for owner, name in works:
        monkeypatch.setattr(owner, name, told(owner, name))
    async with served.rest() as client, served.grpc() as channel:
        assert (await GRPCInferenceServiceStub(channel).ModelInfer(message(PNG))).outputs
        assert outputs(await client.post(INFER, json=listed(PNG)))
        body = {"images": [{"content": base64.b64encode(PNG).decode()}]}
        assert (await client.post("/v1/classify", json=body)).status_code == 200
    assert elsewhere == ["read", "images", "_answer", "read", "images", "write", "_from_json"]


async def test_a_model_without_classes_answers_with_its_embedding() -> None:
    served = gateway([archive_of(**HEADLESS)])
    async with served.rest() as client:
        response = await client.post(INFER, json=listed(PNG))
        metadata = (await client.get("/v2/models/digits")).json()
    assert list(outputs(response)) == ["embedding"]
    assert metadata["outputs"] == [{"name": "embedding", "datatype": "FP32", "shape": [-1, 4]}]


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        ({"content": b""}, 400, "Invalid JSON"),
        ({"content": b"[" * 60_000}, 400, "Invalid JSON"),
        ({"json": []}, 400, "body"),
        ({"json": {"inputs": []}}, 400, "0 inputs"),
        ({"json": {"inputs": listed(PNG)["inputs"] * 2}}, 400, "2 inputs"),
        ({"json": {"inputs": listed(PNG)["inputs"] * 17}}, 400, "at most 16"),
        ({"json": listed(PNG, input=[])}, 400, "Extra inputs"),
        ({"json": listed(PNG, parameters={"topk": 1})}, 400, "unknown parameter 'topk'"),
        ({"json": listed(PNG, parameters={"top_k": True})}, 400, "whole number"),
        ({"json": listed(PNG, parameters={"top_k": 10**30})}, 400, "whole number"),
        ({"json": listed(PNG, parameters={"top_k": 0})}, 400, "asks for nothing"),
        ({"json": listed(PNG, parameters={"binary_data_output": 1})}, 400, "true or false"),
        ({"json": listed(PNG, outputs=[{"name": "logits"}])}, 400, "no output 'logits'"),
        ({"json": listed(PNG, outputs=[{"name": "labels"}] * 2)}, 400, "twice"),
        ({"json": listed(PNG, outputs=[{"name": "labels", "parameters": {"classification": 1}}])}, 400, "for labels"),
        ({"json": listed(PNG, id="x" * 1001)}, 400, "1000 characters"),
        ({"json": {"inputs": [IMAGE]}}, 400, "needs either data"),
        ({"json": {"inputs": [IMAGE | {"data": ["?"]}]}}, 400, "base64"),
        ({"json": {"inputs": [IMAGE | {"data": [[{}]]}]}}, 400, "base64"),
        ({"json": {"inputs": [IMAGE | {"data": [[], {base64.b64encode(PNG).decode(): 0}]}]}}, 400, "base64"),
        ({"json": {"inputs": [IMAGE | {"data": [[], "AAAA"]}]}}, 400, "base64"),
        ({"json": {"inputs": [IMAGE | {"shape": [-1], "data": []}]}}, 400, "shape"),
        ({"json": {"inputs": [PIXELS | {"data": [256]}]}}, 400, "to 255"),
        (
            {"json": {"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [1], "data": [[1], 2]}]}},
            400,
            "to 255",
        ),
        ({"content": b"{" + b'"a":1,' * (MAX_KEYS + 1)}, 413, "keys"),
        ({"content": b'{"inputs":[' + b"," * (MAX_VALUES + 1)}, 413, "bytes taken"),
        (behind(elements(PNG)) | {"headers": {LENGTH: "1e3"}}, 400, "Content-Length"),
        (behind(elements(PNG)) | {"headers": {LENGTH: "99999999"}}, 400, "Content-Length"),
        (behind(elements(PNG)) | {"headers": {LENGTH: "7"}}, 400, "Invalid JSON"),
        ({"content": behind(b"x")["content"] + b"more", "headers": behind(b"x")["headers"]}, 400, "4 bytes"),
        (behind(elements(PNG)[:-1]), 400, "longer than what is left"),
        ({"json": listed(PNG), "headers": {"content-encoding": "gzip"}}, 415, "gzip"),
        ({"json": listed(*[PNG] * (MAX_IMAGES + 1))}, 413, "more than the 8 images"),
        ({"json": listed(TEXT)}, 415, "this is no image"),
        ({"json": listed(PNG, TEXT)}, 415, "image 1: this is no image"),
        ({"json": listed(png_claiming(20_000, 20_000))}, 413, "pixels"),
        ({"json": listed(PNG), "headers": {"x-request-timeout": "soon"}}, 400, "x-request-timeout"),
    ],
)
async def test_what_cannot_be_answered_is_refused_in_the_protocols_own_shape(
    served: Gateway, asked: dict[str, Any], status: int, words: str
) -> None:
    asked["headers"] = asked.get("headers", {}) | {"x-request-id": "mine"}
    async with served.rest() as client:
        response = await client.post(INFER, **asked)
    assert (response.status_code, list(response.json())) == (status, ["error"])
    assert words in response.json()["error"]
    assert response.json()["error"].endswith("(request mine)")
    assert response.headers["x-request-id"] == "mine"
    assert not served.workers.jobs


@pytest.mark.parametrize("content", [b"," * (MAX_VALUES + 1), b"[" * (MAX_LISTS + 1)])
async def test_too_many_values_are_refused_before_they_are_built(served: Gateway, content: bytes) -> None:
    app = served.rest_app(max_request_bytes=2 * MAX_VALUES)
    async with served.rest(app) as client:
        response = await client.post(INFER, content=b'{"inputs":[' + content)
    assert response.status_code == 413
    assert "send tensors as binary data" in response.json()["error"]


async def test_a_token_is_asked_for_but_by_probes_and_its_refusal_has_the_protocols_shape() -> None:
    token = f'[[token]]\nname = "a"\nsha256 = "{sha256("a").hex()}"\nscopes = ["classify"]\n'
    served = gateway(access=Access(text=token))
    async with served.rest() as client, served.grpc() as channel:
        refusal = await client.post(INFER, json=listed(PNG))
        assert (refusal.status_code, list(refusal.json())) == (401, ["error"])
        assert (await client.post(INFER, json=listed(PNG), headers={"authorization": "Bearer a"})).status_code == 200
        assert (await client.get("/v2/health/live")).status_code == 200
        stub = GRPCInferenceServiceStub(channel)
        assert (await stub.ServerLive(oip.ServerLiveRequest())).live
        let_in = (("authorization", "Bearer a"),)
        assert (await stub.ModelInfer(message(PNG), metadata=let_in)).outputs
        for call, code in (
            (stub.ModelInfer(message(PNG)), grpc.StatusCode.UNAUTHENTICATED),
            (stub.ServerMetadata(oip.ServerMetadataRequest(), metadata=let_in), grpc.StatusCode.PERMISSION_DENIED),
            (stub.ModelReady(oip.ModelReadyRequest()), grpc.StatusCode.UNAUTHENTICATED),
        ):
            assert (await refused(call)).code() is code


async def test_one_images_failure_at_the_worker_is_the_calls(served: Gateway) -> None:
    broken = encoded("JPEG")
    served.workers.reply = lambda job: error_to(job, Error.UNDECODABLE) if job.images[0] == broken else answer_to(job)
    async with served.rest() as client, served.grpc() as channel:
        response = await client.post(INFER, json=listed(PNG, broken))
        error = await refused(GRPCInferenceServiceStub(channel).ModelInfer(message(PNG, broken)))
    assert response.status_code == 422
    assert response.json()["error"].startswith("image 1: the worker's words")
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details().startswith("image 1: the worker's words")


async def test_the_protocols_timeout_is_in_microseconds(served: Gateway) -> None:
    served.workers.gate.clear()
    async with served.rest() as client, served.grpc() as channel:
        response = await client.post(INFER, json=listed(PNG, PNG, parameters={"timeout": 200_000}))
        timeout = {"timeout": oip.InferParameter(int64_param=200_000)}
        error = await refused(GRPCInferenceServiceStub(channel).ModelInfer(message(PNG, PNG, parameters=timeout)))
    assert response.status_code == 504
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    for words in (response.json()["error"], error.details()):  # of the call, not of one of its images
        assert words.startswith("the deadline passed")
    served.workers.gate.set()


async def test_probes_and_metadata_over_rest(served: Gateway) -> None:
    async with served.rest() as client:
        assert (await client.get("/v2/health/live")).json() == {"live": True}
        unready = await client.get("/v2/health/ready")
        assert (unready.status_code, unready.json()) == (503, {"ready": False})
        await served.readiness.look()
        assert (await client.get("/v2/health/ready")).json() == {"ready": True}
        for version in ("", "/versions/1.0"):
            ready = await client.get(f"/v2/models/digits{version}/ready")
            assert (ready.status_code, ready.json()) == (200, {"name": "digits", "ready": True})
            model = (await client.get(f"/v2/models/digits{version}")).json()
            assert [each["name"] for each in model["inputs"]] == ["image", "pixels"]
            assert (model["name"], model["versions"]) == ("digits", ["1.0"])
        assert (await client.get("/v2")).json()["name"] == "swinserve"
        for missing in ("/v2/models/none", "/v2/models/none/ready", "/v2/none", "/v2/models/digits/versions/2"):
            answer = await client.get(missing)
            assert (answer.status_code, list(answer.json())) == (404, ["error"])
        await served.readiness.close()
        assert (await client.get("/v2/models/digits/ready")).status_code == 503


async def test_probes_and_metadata_over_grpc(served: Gateway) -> None:
    async with served.grpc() as channel:
        stub = GRPCInferenceServiceStub(channel)
        assert (await stub.ServerLive(oip.ServerLiveRequest())).live
        assert not (await stub.ServerReady(oip.ServerReadyRequest())).ready
        await served.readiness.look()
        assert (await stub.ServerReady(oip.ServerReadyRequest())).ready
        assert (await stub.ModelReady(oip.ModelReadyRequest(name="digits", version="1.0"))).ready
        assert not (await stub.ModelReady(oip.ModelReadyRequest(name="none"))).ready
        assert (await stub.ServerMetadata(oip.ServerMetadataRequest())).name == "swinserve"
        model = await stub.ModelMetadata(oip.ModelMetadataRequest(name="digits"))
        assert [each.datatype for each in model.outputs] == ["FP32", "INT64", "BYTES", "FP32"]
        error = await refused(stub.ModelMetadata(oip.ModelMetadataRequest(name="none")))
        assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_raw_and_typed_contents_over_grpc_are_the_same(served: Gateway) -> None:
    raw = message(PNG, encoded("JPEG"), id="mine")
    typed = message(PNG, encoded("JPEG"), id="mine")
    typed.inputs[0].contents.bytes_contents.extend([PNG, encoded("JPEG")])
    typed.ClearField("raw_input_contents")
    async with served.grpc() as channel:
        stub = GRPCInferenceServiceStub(channel)
        answers = [await stub.ModelInfer(raw), await stub.ModelInfer(typed)]
    assert answers[0] == answers[1]
    assert (answers[0].id, answers[0].model_name, answers[0].model_version) == ("mine", "digits", "1.0")
    assert [(each.name, list(each.shape)) for each in answers[0].outputs] == [
        ("scores", [2, 2]),
        ("indices", [2, 2]),
        ("labels", [2, 2]),
    ]
    assert answers[0].raw_output_contents[2] == elements(b"two", b"zero", b"two", b"zero")


async def test_pixels_over_grpc_are_raw_or_typed(served: Gateway) -> None:
    tensor = oip.ModelInferRequest.InferInputTensor(name="pixels", datatype="UINT8", shape=[1, 2, 2, 3])
    raw = oip.ModelInferRequest(inputs=[tensor], raw_input_contents=[RAW])
    tensor.contents.uint_contents.extend(RAW)
    async with served.grpc() as channel:
        for asked in (raw, oip.ModelInferRequest(inputs=[tensor])):
            await GRPCInferenceServiceStub(channel).ModelInfer(asked)
    first, second = served.workers.jobs
    assert first.images == second.images


def too_many_numbers() -> oip.ModelInferRequest:
    request = oip.ModelInferRequest(inputs=[{"name": "pixels", "datatype": "UINT8"}])  # type: ignore[list-item]
    request.inputs[0].contents.uint_contents.extend(bytes(MAX_NUMBERS + 1))
    return request


def both_contents() -> oip.ModelInferRequest:
    request = message(PNG)
    request.inputs[0].contents.bytes_contents.append(PNG)
    return request


def shared_memory() -> oip.ModelInferRequest:
    request = message(PNG)
    request.inputs[0].parameters["shared_memory_region"].string_param = "r"
    return request


def out_of_range() -> oip.ModelInferRequest:
    request = oip.ModelInferRequest(inputs=[{"name": "pixels", "datatype": "UINT8"}])  # type: ignore[list-item]
    request.inputs[0].contents.uint_contents.append(256)
    return request


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (message(PNG, raw_input_contents=[b"", b""]), "2 raw_input_contents for 1 inputs"),
        (both_contents(), "has contents"),
        (shared_memory(), "unknown parameter 'shared_memory_region'"),
        (out_of_range(), "from 0 to 255"),
        (too_many_numbers(), "too many numbers"),
        (message(PNG, parameters={"top_k": oip.InferParameter()}), "whole number"),
        (message(PNG, parameters={"top_k": oip.InferParameter(string_param="5")}), "whole number"),
        (message(PNG, outputs=[{"name": "x"}]), "no output 'x'"),
        (message(*[PNG] * (MAX_IMAGES + 1)), "more than the 8 images"),
    ],
)
async def test_what_cannot_be_answered_over_grpc_is_an_invalid_argument(
    served: Gateway, request_: oip.ModelInferRequest, words: str
) -> None:
    async with served.grpc() as channel:
        error = await refused(GRPCInferenceServiceStub(channel).ModelInfer(request_))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert words in error.details()
    assert not served.workers.jobs
