"""Both adapters and the metrics port in front of tokens: who is refused, with what, and what stays open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from structlog.testing import capture_logs

from swin_gateway.access import Access
from swin_gateway.metrics_api import MetricsApi
from swin_gateway.probes import Probes
from swin_gateway.tokens import SCOPES, sha256
from swin_proto.v1.classifier_pb2 import ClassifyRequest, ClassifyStreamRequest, Image, ListModelsRequest
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub

from .assembly import PNG, Gateway, gateway, until
from .samples import encoded

CLASSIFY = "/v1/models/digits:classify"


def toml(name: str, scopes: Any = SCOPES, more: str = "") -> str:
    """Of a token whose secret is its name."""
    return f'[[token]]\nname = "{name}"\nsha256 = "{sha256(name).hex()}"\nscopes = {list(scopes)}\n{more}\n'


def guarded(*more: str) -> Gateway:
    tokens = toml("all") + toml("caller", ["classify"]) + toml("reader", ["metadata"]) + toml("scraper", ["metrics"])
    return gateway(access=Access(text=tokens + "".join(more)))


def bearer(token: str | None, **more: str) -> dict[str, str]:
    return more if token is None else more | {"authorization": f"Bearer {token}"}


def counted(served: Gateway, protocol: str, method: str, outcome: str) -> float:
    labels = {"protocol": protocol, "method": method, "model": "", "version": "", "outcome": outcome}
    return served.value("requests_total", **labels)


@asynccontextmanager
async def metrics_port(served: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    api = MetricsApi(
        served.metrics.registry, Probes(served.readiness, served.classifier.models), served.calls, served.access
    )
    async with served.rest(api) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "token", "status", "reason"),
    [
        ("POST", CLASSIFY, "caller", 200, None),
        ("POST", CLASSIFY, None, 401, "UNAUTHENTICATED"),
        ("POST", CLASSIFY, "nobody", 401, "UNAUTHENTICATED"),
        ("POST", CLASSIFY, "reader", 403, "PERMISSION_DENIED"),
        ("GET", "/v1/models", "reader", 200, None),
        ("GET", "/v1/models", "caller", 403, "PERMISSION_DENIED"),
        ("GET", "/v1/models", None, 401, "UNAUTHENTICATED"),
        ("GET", "/openapi.json", None, 401, "UNAUTHENTICATED"),
        ("GET", "/docs", None, 401, "UNAUTHENTICATED"),
        ("GET", "/docs", "reader", 200, None),
        ("GET", "/nothing", None, 401, "UNAUTHENTICATED"),
        ("GET", "/nothing", "reader", 404, "NOT_FOUND"),
        ("GET", "/livez", None, 200, None),
        ("GET", "/readyz", "nobody", 503, None),
    ],
)
async def test_rest_lets_in_by_token_and_scope(
    method: str, path: str, token: str | None, status: int, reason: str | None
) -> None:
    served = guarded()
    async with served.rest() as client:
        headers = bearer(token, **{"x-request-id": "mine"})
        response = await client.request(method, path, content=PNG if method == "POST" else None, headers=headers)
    assert response.status_code == status
    assert response.headers["x-request-id"] == "mine"
    assert response.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    if reason is not None:
        assert (response.json()["error"]["reason"], response.json()["error"]["request_id"]) == (reason, "mine")
    if status in (401, 403):
        assert not served.workers.jobs
        assert counted(served, "rest", "Classify" if method == "POST" else "Metadata", str(reason).lower()) == 1


async def test_rest_refuses_before_it_reads_the_body() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("the body is read")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": CLASSIFY, "query_string": b"", "headers": []}
    await guarded().rest_app()(scope, receive, send)
    assert sent[0]["status"] == 401


@pytest.mark.parametrize(
    ("call", "token", "code"),
    [
        ("classify", "caller", grpc.StatusCode.OK),
        ("classify", None, grpc.StatusCode.UNAUTHENTICATED),
        ("classify", "nobody", grpc.StatusCode.UNAUTHENTICATED),
        ("classify", "reader", grpc.StatusCode.PERMISSION_DENIED),
        ("stream", "caller", grpc.StatusCode.OK),
        ("stream", None, grpc.StatusCode.UNAUTHENTICATED),
        ("list", "reader", grpc.StatusCode.OK),
        ("list", "caller", grpc.StatusCode.PERMISSION_DENIED),
        ("reflection", "reader", grpc.StatusCode.OK),
        ("reflection", None, grpc.StatusCode.UNAUTHENTICATED),
        ("unknown", None, grpc.StatusCode.UNAUTHENTICATED),
        ("unknown", "caller", grpc.StatusCode.UNIMPLEMENTED),
        ("health", None, grpc.StatusCode.OK),
    ],
)
async def test_grpc_lets_in_by_token_and_scope(call: str, token: str | None, code: grpc.StatusCode) -> None:
    served = guarded()
    metadata = tuple(bearer(token, **{"x-request-id": "mine"}).items())
    async with served.grpc() as channel:
        asked = asking(channel, call, metadata, refused=code is not grpc.StatusCode.OK)
        if code is grpc.StatusCode.OK:
            assert await asked
            return
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await asked
    assert refusal.value.code() is code
    assert not served.workers.jobs
    if code is not grpc.StatusCode.UNIMPLEMENTED:
        status = Status.FromString(dict(refusal.value.trailing_metadata())["grpc-status-details-bin"])
        assert unpacked(status, ErrorInfo()).reason == code.name
        assert unpacked(status, RequestInfo()).request_id == "mine"
        scope = "Metadata" if call in ("list", "reflection") else "Classify"
        await until(lambda: counted(served, "grpc", scope, code.name.lower()) == 1)  # after the answer is sent


async def asking(channel: grpc.aio.Channel, call: str, metadata: Any, *, refused: bool) -> Any:
    """The answer to one call of each kind.

    refused: a stream then sends nothing; while it ends, grpc's client would make INTERNAL of its status
    """
    stub = ClassifierStub(channel)
    if call == "classify":
        return await stub.Classify(ClassifyRequest(images=[Image(content=PNG)]), metadata=metadata)
    if call == "stream":
        requests = [ClassifyStreamRequest(id="1", image=Image(content=PNG))]
        return [answer async for answer in stub.ClassifyStream(sent(requests, refused), metadata=metadata)]
    if call == "list":
        return await stub.ListModels(ListModelsRequest(), metadata=metadata)
    if call == "reflection":
        requests = [ServerReflectionRequest(list_services="")]
        stream = ServerReflectionStub(channel).ServerReflectionInfo(sent(requests, refused), metadata=metadata)
        return [answer async for answer in stream]
    if call == "health":
        return await HealthStub(channel).Check(HealthCheckRequest(), metadata=metadata)
    return await channel.unary_unary("/swinserve.v1.Classifier/Nothing")(b"", metadata=metadata)


async def sent(requests: list[Any], refused: bool) -> AsyncIterator[Any]:
    if refused:
        await asyncio.sleep(5)
    for each in requests:
        yield each


def unpacked(status: Any, message: Any) -> Any:
    assert any(detail.Unpack(message) for detail in status.details)
    return message


async def test_a_stream_ends_to_be_answered_when_its_token_is_revoked(tmp_path: Any) -> None:
    file = tmp_path / "tokens.toml"
    file.write_text(toml("caller"))
    served = gateway(access=Access(file=file))
    async with served.grpc() as channel:
        stream = ClassifierStub(channel).ClassifyStream(metadata=tuple(bearer("caller").items()))
        await stream.write(ClassifyStreamRequest(id="1", image=Image(content=PNG)))
        assert (await stream.read()).result.WhichOneof("outcome") == "predictions"
        file.write_text(toml("another"))
        served.access.files[0].look()
        await stream.write(ClassifyStreamRequest(id="2", image=Image(content=PNG)))
        assert (await stream.read()).result.error.reason == "UNAUTHENTICATED"
        await stream.done_writing()


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
async def test_a_call_over_the_limits_is_told_when_to_come_back(protocol: str) -> None:
    served = guarded(toml("slow", more='rate = "2/hour"'))
    images = [PNG, encoded("JPEG")]
    if protocol == "rest":
        async with served.rest() as client:
            files = [("images", image) for image in images]
            first = await client.post(CLASSIFY, files=files, headers=bearer("slow"))
            second = await client.post(CLASSIFY, content=PNG, headers=bearer("slow"))
            others = await client.post(CLASSIFY, content=PNG, headers=bearer("caller"))
            large = await client.post(CLASSIFY, files=[*files, *files], headers=bearer("slow"))
        assert [each.status_code for each in (first, second, others, large)] == [200, 429, 200, 413]
        assert second.json()["error"]["reason"] == "RATE_LIMITED"
        assert 0 < int(second.headers["retry-after"]) <= 3600
        return
    metadata = tuple(bearer("slow").items())
    async with served.grpc() as channel:
        stub = ClassifierStub(channel)
        await stub.Classify(ClassifyRequest(images=[Image(content=image) for image in images]), metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await stub.Classify(ClassifyRequest(images=[Image(content=PNG)]), metadata=metadata)
    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    status = Status.FromString(dict(refusal.value.trailing_metadata())["grpc-status-details-bin"])
    assert unpacked(status, ErrorInfo()).reason == "RATE_LIMITED"
    assert 0 < unpacked(status, RetryInfo()).retry_delay.seconds <= 3600


async def test_a_token_has_only_so_many_images_here_at_once() -> None:
    served = guarded(toml("narrow", more="concurrency = 1"))
    served.workers.gate.clear()
    async with served.rest() as client:
        first = asyncio.create_task(client.post(CLASSIFY, content=PNG, headers=bearer("narrow")))
        await until(lambda: served.workers.jobs)
        second = await client.post(CLASSIFY, content=PNG, headers=bearer("narrow"))
        served.workers.gate.set()
        assert (await first).status_code == 200
        third = await client.post(CLASSIFY, content=PNG, headers=bearer("narrow"))
    assert [second.status_code, third.status_code] == [429, 200]


@pytest.mark.parametrize("way", ["rest", "grpc", "stream"])
async def test_a_caller_that_gives_up_has_its_limits_back_when_the_worker_is_done(way: str) -> None:
    """Else it could have the worker do any number at once, by sending and cancelling all the time."""
    served = guarded(toml("narrow", more="concurrency = 1"))
    served.workers.gate.clear()
    large = PNG + bytes(40_000)
    async with served.rest() as client, served.grpc() as channel:
        metadata: Any = tuple(bearer("narrow").items())
        stub = ClassifierStub(channel)
        if way == "rest":
            asked: Any = asyncio.create_task(client.post(CLASSIFY, content=large, headers=bearer("narrow")))
        elif way == "grpc":
            asked = stub.Classify(ClassifyRequest(images=[Image(content=large)]), metadata=metadata)
        else:
            asked = stub.ClassifyStream(metadata=metadata)
            await asked.write(ClassifyStreamRequest(id="1", image=Image(content=large)))
        await until(lambda: served.workers.jobs)
        asked.cancel()
        await until(lambda: served.metrics.in_flight._value.get() == 0)
        second = await client.post(CLASSIFY, content=PNG, headers=bearer("narrow"))
        assert (second.status_code, second.json()["error"]["reason"]) == (429, "RATE_LIMITED")
        assert served.classifier.pending.total == len(large)
        served.workers.gate.set()
        await until(lambda: not served.model.admission.dispatched)
        third = await client.post(CLASSIFY, content=PNG, headers=bearer("narrow"))
    assert third.status_code == 200
    assert served.classifier.pending.total == 0


async def test_the_bulk_of_a_stream_waits_for_its_tokens_limits_instead_of_failing() -> None:
    served = guarded(toml("narrow", more="concurrency = 1"))
    requests = [ClassifyStreamRequest(id=str(index), image=Image(content=PNG)) for index in range(8)]
    async with served.grpc() as channel:
        stream = ClassifierStub(channel).ClassifyStream(iter(requests), metadata=tuple(bearer("narrow").items()))
        answers = [answer.result.WhichOneof("outcome") async for answer in stream]
    assert answers == ["predictions"] * 8
    assert served.workers.most_at_once == 1


async def test_callers_are_told_apart_by_their_tokens_and_the_log_names_them_but_holds_no_token() -> None:
    served = guarded()
    callers: list[str] = []
    admit = served.model.admission.admit

    def noted(images: int, *, caller: str, **options: Any) -> Any:
        callers.append(caller)
        return admit(images, caller=caller, **options)

    served.model.admission.admit = noted  # type: ignore[method-assign]
    with capture_logs() as logs:
        async with served.rest() as client:
            await client.post(CLASSIFY, content=PNG, headers=bearer("caller"))
            await client.post(CLASSIFY, content=PNG, headers=bearer("all"))
            await client.post(CLASSIFY, content=PNG, headers=bearer("wrong-secret"))
    assert callers == ["caller", "all"]
    assert [entry.get("token") for entry in logs if entry["event"] == "call"] == ["caller", "all", None]
    assert "wrong-secret" not in str(logs)


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        ("/metrics", "scraper", 200),
        ("/metrics", "caller", 403),
        ("/metrics", "nobody", 401),
        ("/metrics", None, 401),
        ("/", None, 401),
        ("/", "scraper", 404),
        ("/v1/models", "all", 404),
        ("/livez", None, 200),
        ("/readyz", None, 503),
    ],
)
async def test_metrics_need_their_scope_and_probes_nothing(path: str, token: str | None, status: int) -> None:
    served = guarded()
    async with metrics_port(served) as client:
        response = await client.get(path, headers=bearer(token))
    assert response.status_code == status
    assert ("swinserve_ready" in response.text) is (status == 200 and path == "/metrics")
    if status >= 400 and path != "/readyz":
        assert counted(served, "rest", "Metrics", response.json()["error"]["reason"].lower()) == 1


async def test_a_scrape_counts_as_no_call_and_can_be_packed_and_in_openmetrics() -> None:
    served = gateway()
    async with metrics_port(served) as client:
        plain = await client.get("/metrics", headers={"accept-encoding": "identity"})
        packed = await client.get("/metrics", headers={"accept-encoding": "gzip"})
        asked = {"accept": "application/openmetrics-text; version=1.0.0"}
        openmetrics = await client.get("/metrics", headers=asked)
        written = await client.post("/metrics")
    assert "swinserve_in_flight_requests 0.0" in plain.text
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content) / 2
    assert packed.text.splitlines()[0] == plain.text.splitlines()[0]
    assert openmetrics.text.endswith("# EOF\n")
    assert written.status_code == 404
