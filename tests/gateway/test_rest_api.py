"""The real FastAPI application over ASGI, with a fake WorkerClient behind the classifier."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from swin_gateway.errors import InternalError
from swin_proto.worker.v1.job_pb2 import Error

from .assembly import MAX_IMAGES, MAX_REQUEST_BYTES, PNG, Gateway, error_to, gateway, until
from .samples import archive_of, encoded, png_claiming

CLASSIFY = "/v1/models/digits:classify"
TEXT = b"this is no image"


async def test_a_raw_image_becomes_ranked_labels(served: Gateway) -> None:
    async with served.rest() as client:
        response = await client.post(CLASSIFY, content=PNG)
    assert response.status_code == 200
    answer = response.json()
    assert answer["results"] == [
        {"predictions": [{"label": "two", "index": 2, "score": 0.75}, {"label": "zero", "index": 0, "score": 0.25}]}
    ]
    assert set(answer["timing"]) == {"queue", "batch_wait", "decode", "inference"}
    assert {key: answer[key] for key in ("model", "version", "backend", "dtype")} == {
        "model": "digits",
        "version": "1.0",
        "backend": "eager",
        "dtype": "float32",
    }


@pytest.mark.parametrize(
    "path", ["/v1/classify", "/v1/models/digits:classify", "/v1/models/digits/versions/1.0:classify"]
)
async def test_a_model_can_be_asked_for_by_default_by_name_and_by_version(served: Gateway, path: str) -> None:
    async with served.rest() as client:
        response = await client.post(path, content=PNG)
    assert (response.status_code, response.json()["version"]) == (200, "1.0")
    counted = {"protocol": "rest", "method": "Classify", "model": "digits", "version": "1.0"}
    assert served.value("requests_total", outcome="ok", **counted) == 1
    assert served.value("request_seconds_count", **counted) == 1


async def test_many_files_are_answered_in_order_with_an_error_of_their_own(served: Gateway) -> None:
    files = [("images", (name, content)) for name, content in (("a", PNG), ("b", TEXT), ("c", encoded("JPEG")))]
    async with served.rest() as client:
        response = await client.post(CLASSIFY, files=files, headers={"x-request-id": "mine"})
    assert response.status_code == 200
    first, second, third = response.json()["results"]
    assert set(first) == set(third) == {"predictions"}
    assert second["error"]["reason"] == "UNSUPPORTED_TYPE"
    assert second["error"]["code"] == "INVALID_ARGUMENT"
    assert second["error"]["request_id"] == "mine"


async def test_json_base64_is_the_same_as_a_raw_body(served: Gateway) -> None:
    body = {"images": [{"content": base64.b64encode(PNG).decode()}]}
    async with served.rest() as client:
        response = await client.post(CLASSIFY, json=body)
    assert response.status_code == 200
    assert list(served.workers.jobs[0].images) == [PNG]


async def test_options_and_deadline_reach_the_worker(served: Gateway) -> None:
    async with served.rest() as client:
        await client.post(
            CLASSIFY, content=PNG, params={"top_k": 2, "min_score": 0.5}, headers={"x-request-timeout": "1.5"}
        )
    (job,) = served.workers.jobs
    assert (job.top_k, job.min_score) == (2, 0.5)
    assert job.expires_at > 0


@pytest.mark.parametrize(
    ("path", "changes", "status", "reason"),
    [
        (CLASSIFY, {"content": b""}, 400, "INVALID_REQUEST"),
        (CLASSIFY, {"content": TEXT}, 415, "UNSUPPORTED_TYPE"),
        (CLASSIFY, {"content": PNG[:20]}, 422, "UNDECODABLE"),
        (CLASSIFY, {"content": png_claiming(20_000, 20_000)}, 413, "TOO_LARGE"),
        (CLASSIFY, {"content": b"x" * (MAX_REQUEST_BYTES + 1)}, 413, "TOO_LARGE"),
        (CLASSIFY, {"data": {"image": "x"}}, 415, "UNSUPPORTED_TYPE"),
        (CLASSIFY, {"json": {"images": [{"content": "?"}]}}, 400, "INVALID_REQUEST"),
        (CLASSIFY, {"json": {"images": []}}, 400, "INVALID_REQUEST"),
        (CLASSIFY, {"files": [("images", PNG)] * (MAX_IMAGES + 1)}, 413, "TOO_LARGE"),
        (CLASSIFY, {"content": PNG, "params": {"top_k": 0}}, 400, "INVALID_REQUEST"),
        (CLASSIFY, {"content": PNG, "params": {"top_k": 10**6}}, 400, "INVALID_REQUEST"),
        (CLASSIFY, {"content": PNG, "params": {"top_k": "five"}}, 400, "INVALID_REQUEST"),
        (CLASSIFY, {"content": PNG, "params": {"min_score": 2}}, 400, "INVALID_REQUEST"),
        (CLASSIFY, {"content": PNG, "headers": {"x-request-timeout": "soon"}}, 400, "INVALID_REQUEST"),
        (CLASSIFY, {"content": PNG, "headers": {"x-request-timeout": "nan"}}, 400, "INVALID_REQUEST"),
        (CLASSIFY, {"content": PNG, "headers": {"x-request-timeout": "-1"}}, 504, "DEADLINE_EXCEEDED"),
        ("/v1/models/huge:classify", {"content": PNG}, 404, "MODEL_NOT_FOUND"),
        ("/v1/models/digits/versions/9:classify", {"content": PNG}, 404, "MODEL_NOT_FOUND"),
        ("/v1/nothing", {"content": PNG}, 404, "NOT_FOUND"),
        ("/v1/models", {"content": PNG}, 405, "INVALID_REQUEST"),
    ],
)
async def test_bad_input_gets_the_status_of_the_table_and_names_the_request(
    served: Gateway, path: str, changes: dict[str, Any], status: int, reason: str
) -> None:
    changes["headers"] = changes.get("headers", {}) | {"x-request-id": "mine"}
    async with served.rest() as client:
        response = await client.post(path, **changes)
    assert (response.status_code, response.json()["error"]["reason"]) == (status, reason)
    assert response.json()["error"]["request_id"] == response.headers["x-request-id"] == "mine"
    assert response.json()["error"]["message"]
    assert not served.workers.jobs


async def test_a_call_whose_options_are_no_numbers_is_counted(served: Gateway) -> None:
    async with served.rest() as client:
        await client.post(CLASSIFY, content=PNG, params={"top_k": "five"})
    refused = [
        sample.value
        for family in served.metrics.registry.collect()
        for sample in family.samples
        if sample.name == "swinserve_requests_total" and sample.labels["outcome"] == "invalid_request"
    ]
    assert refused == [1]


async def test_a_path_that_takes_another_method_says_which(served: Gateway) -> None:
    async with served.rest() as client:
        response = await client.get("/v1/classify")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("asked", ["mine", "A-b_c.d:e/f+g=h@i", "x" * 128])
async def test_a_request_id_of_the_callers_own_is_kept(served: Gateway, asked: str) -> None:
    async with served.rest() as client:
        response = await client.post(CLASSIFY, content=PNG, headers={"x-request-id": asked})
    assert response.headers.get_list("x-request-id") == [asked]
    assert served.workers.jobs[0].request_id == asked


@pytest.mark.parametrize("asked", [None, "", "x" * 129, "a b", "<script>", "a\x1b[31m", b"gr\xfc\xdfe", b"a\xb2"])
async def test_a_request_id_that_is_none_or_hostile_is_replaced(served: Gateway, asked: str | bytes | None) -> None:
    async with served.rest() as client:
        response = await client.get("/livez", headers={} if asked is None else {"x-request-id": asked})
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])


async def test_every_answer_carries_a_request_id_of_its_own(served: Gateway) -> None:
    async with served.rest() as client:
        paths = ("/livez", "/readyz", "/v1/models", "/v1/models/digits", "/", "/docs", "/openapi.json", "/nothing")
        ids = {(await client.get(path)).headers["x-request-id"] for path in paths}
    assert len(ids) == len(paths)


async def test_a_bug_is_told_in_a_fixed_text_and_logged_whole(served: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    async def classify(call: Any) -> None:
        raise RuntimeError("secret path /etc/x")

    monkeypatch.setattr(served.classifier, "classify", classify)
    async with served.rest() as client:
        with capture_logs() as logs:
            response = await client.post(CLASSIFY, content=PNG, headers={"x-request-id": "mine"})
    assert response.status_code == 500
    assert response.json()["error"] == {
        "code": "INTERNAL",
        "reason": "INTERNAL",
        "message": InternalError().message,
        "request_id": "mine",
    }
    assert "secret" not in response.text
    assert response.headers["x-request-id"] == "mine"
    assert [(entry["event"], entry["request_id"]) for entry in logs] == [("bug", "mine"), ("call", "mine")]
    assert "secret path" in str(logs[0]["exc_info"])
    counted = {"protocol": "rest", "method": "Classify", "model": "digits", "version": "1.0"}
    assert served.value("requests_total", outcome="internal", **counted) == 1
    assert served.value("in_flight_requests") == 0


async def test_a_shed_call_says_when_to_try_again() -> None:
    served = gateway(queue_size=1)
    async with served.rest() as client:
        response = await client.post(CLASSIFY, files=[("images", PNG)] * 2)
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1


async def test_a_draining_service_says_when_to_try_again(served: Gateway) -> None:
    served.classifier.closing.set()
    async with served.rest() as client:
        response = await client.post(CLASSIFY, content=PNG)
    assert (response.status_code, response.json()["error"]["reason"]) == (503, "DRAINING")
    assert int(response.headers["retry-after"]) >= 1


async def test_a_deadline_that_passes_is_504_and_the_worker_goes_on(served: Gateway) -> None:
    served.workers.gate.clear()
    async with served.rest() as client:
        response = await client.post(CLASSIFY, content=PNG, headers={"x-request-timeout": "1"})
    assert response.status_code == 504
    assert served.workers.finished == 0
    served.workers.gate.set()
    await until(lambda: served.workers.finished == 1)


async def test_a_client_that_goes_away_frees_its_places(served: Gateway) -> None:
    """Spoken in ASGI itself, for httpx has no way to hang up."""
    served.workers.gate.clear()
    gone = asyncio.Event()
    sent: list[dict[str, Any]] = []
    body = iter([{"type": "http.request", "body": PNG, "more_body": False}])

    async def receive() -> dict[str, Any]:
        if message := next(body, None):
            return message
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": CLASSIFY,
        "raw_path": CLASSIFY.encode(),
        "query_string": b"",
        "headers": [],
    }
    task = asyncio.create_task(served.rest_app()(scope, receive, send))
    await until(lambda: served.workers.jobs)
    assert served.value("in_flight_requests") == 1
    gone.set()
    await asyncio.wait_for(task, 2)
    assert sent[0]["status"] == 499
    counted = {"protocol": "rest", "method": "Classify", "model": "digits", "version": "1.0"}
    assert served.value("requests_total", outcome="cancelled", **counted) == 1
    served.workers.gate.set()
    await until(lambda: not served.model.admission.dispatched)
    assert served.workers.finished == 1


async def test_models_are_listed_and_described() -> None:
    served = gateway([archive_of("a", "1"), archive_of("a", "2"), archive_of("b", "1")])
    async with served.rest() as client:
        listed = (await client.get("/v1/models")).json()["models"]
        one = (await client.get("/v1/models/a")).json()
        versioned = (await client.get("/v1/models/a/versions/2")).json()
        missing = await client.get("/v1/models/c")
    assert [(each["name"], each["version"]) for each in listed] == [("a", "1"), ("a", "2"), ("b", "1")]
    assert one == listed[0]
    assert versioned == listed[1]
    assert one["multiply_adds"] == 5_000_000_000  # a number, where protobuf's own JSON would have a string
    assert (one["labels"], one["versions"], one["batch_buckets"]) == (["zero", "one", "two"], ["1", "2"], [1, 2])
    assert (missing.status_code, missing.json()["error"]["reason"]) == (404, "MODEL_NOT_FOUND")


async def test_livez_does_not_depend_on_readiness() -> None:
    served = gateway(loaded=False)
    async with served.rest() as client:
        live, ready = await client.get("/livez"), await client.get("/readyz")
    assert (live.status_code, live.json()["status"]) == (200, "live")
    assert (ready.status_code, ready.json()) == (503, {"status": "not ready", "models": {"digits@1.0": False}})


async def test_readyz_is_what_readiness_last_saw(served: Gateway) -> None:
    async with served.rest() as client:
        assert (await client.get("/readyz")).status_code == 503
        await served.readiness.look()
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready", "models": {"digits@1.0": True}})
        await served.readiness.close()
        assert (await client.get("/readyz")).status_code == 503


async def test_a_worker_error_is_the_calls_error(served: Gateway) -> None:
    served.workers.reply = lambda job: error_to(job, Error.UNDECODABLE, "cut in row 3")
    async with served.rest() as client:
        response = await client.post(CLASSIFY, content=PNG)
    assert (response.status_code, response.json()["error"]["message"]) == (422, "cut in row 3")


async def test_the_docs_page_needs_nothing_from_outside(served: Gateway) -> None:
    async with served.rest() as client:
        page = await client.get("/docs")
        assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        answers = [await client.get(asset) for asset in assets]
    assert page.status_code == 200
    assert not re.search("https?://", page.text)
    assert [answer.status_code for answer in answers] == [200] * len(assets)
    assert any(asset.endswith(".js") for asset in assets)


async def test_the_root_leads_to_the_docs(served: Gateway) -> None:
    async with served.rest() as client:
        response = await client.get("/", follow_redirects=True)
    assert (response.status_code, response.url.path) == (200, "/docs")


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from references(each)


async def openapi(served: Gateway) -> dict[str, Any]:
    async with served.rest() as client:
        return dict((await client.get("/openapi.json")).json())


async def test_the_openapi_description_names_every_operation_once_and_every_path_parameter(served: Gateway) -> None:
    description = await openapi(served)
    assert description["openapi"].startswith("3.")
    operations = [(path, operation) for path, methods in description["paths"].items() for operation in methods.values()]
    ids = [operation["operationId"] for _, operation in operations]
    assert len(set(ids)) == len(ids) == 20
    for path, operation in operations:
        named = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))
        assert operation["responses"]


async def test_every_reference_of_the_openapi_description_leads_somewhere(served: Gateway) -> None:
    description = await openapi(served)
    for reference in set(references(description)):
        assert reference.startswith("#/")
        node: Any = description
        for step in reference.removeprefix("#/").split("/"):
            assert step in node, reference
            node = node[step]


async def test_the_openapi_description_has_every_status_a_classification_can_have(served: Gateway) -> None:
    responses = (await openapi(served))["paths"]["/v1/models/{model}:classify"]["post"]["responses"]
    assert set(responses) == {"200", "400", "401", "403", "404", "413", "415", "422", "429", "500", "503", "504"}
    for status in set(responses) - {"200"}:
        schema = responses[status]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ErrorBody"}


async def test_the_openapi_description_says_that_a_token_may_be_needed_but_for_probes(served: Gateway) -> None:
    description = await openapi(served)
    assert description["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}
    assert description["security"] == [{"bearer": []}, {}]
    reading = {path: methods["get"] for path, methods in description["paths"].items() if "get" in methods}
    assert {path for path, each in reading.items() if each.get("security") == []} == {
        *("/livez", "/readyz"),
        *("/v2/health/live", "/v2/health/ready", "/ping"),
    }


async def test_a_call_that_began_before_the_drain_is_answered(served: Gateway) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield PNG[:10]
        served.classifier.closing.set()
        yield PNG[10:]

    async with served.rest() as client:
        response = await client.post(CLASSIFY, content=slow())
    assert response.status_code == 200


async def test_a_misspelt_option_is_refused_by_name(served: Gateway) -> None:
    async with served.rest() as client:
        response = await client.post(f"{CLASSIFY}?topk=3", content=PNG)
    assert response.status_code == 400
    assert "topk" in response.json()["error"]["message"]


async def test_a_body_that_does_not_come_has_a_deadline_too(served: Gateway) -> None:
    async def stalled() -> AsyncIterator[bytes]:
        yield PNG[:10]
        await asyncio.sleep(60)

    async with served.rest() as client:
        response = await client.post(CLASSIFY, content=stalled(), headers={"x-request-timeout": "0.05"})
    assert (response.status_code, response.json()["error"]["reason"]) == (504, "DEADLINE_EXCEEDED")


async def test_a_call_that_a_drain_cuts_is_told_so(served: Gateway) -> None:
    served.workers.gate.clear()
    async with served.rest() as client:
        asked = asyncio.create_task(client.post(CLASSIFY, content=PNG))
        await until(lambda: served.workers.jobs)
        assert served.calls.cut() == 1
        response = await asked
    assert (response.status_code, response.json()["error"]["reason"]) == (503, "DRAINING")
    assert response.headers["x-request-id"]


async def test_a_call_that_is_cancelled_is_not_counted_as_ok(served: Gateway) -> None:
    served.workers.gate.clear()
    async with served.rest() as client:
        asked = asyncio.create_task(client.post(CLASSIFY, content=PNG))
        await until(lambda: served.workers.jobs)
        asked.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asked
    counted = {"protocol": "rest", "method": "Classify", "model": "digits", "version": "1.0"}
    assert served.value("requests_total", outcome="cancelled", **counted) == 1
    assert served.value("requests_total", outcome="ok", **counted) == 0
