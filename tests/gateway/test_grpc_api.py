"""The real gRPC server on a free port, called by stub and by reflection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from structlog.testing import capture_logs

from swin_gateway.errors import InternalError
from swin_gateway.grpc_api import STREAM_WINDOW
from swin_proto.v1.classifier_pb2 import (
    ClassifyOptions,
    ClassifyRequest,
    ClassifyStreamRequest,
    ClassifyStreamResponse,
    GetModelRequest,
    Image,
    ListModelsRequest,
)
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub
from swin_proto.worker.v1.job_pb2 import Error

from .assembly import MAX_IMAGES, PNG, Gateway, error_to, gateway, until
from .samples import archive_of, encoded, png_claiming

TEXT = b"this is no image"
ID = "x-request-id"
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


def request(*images: bytes, **fields: Any) -> ClassifyRequest:
    return ClassifyRequest(images=[Image(content=image) for image in images], **fields)


def counted(served: Gateway, method: str, outcome: str, model: str = "digits", version: str = "1.0") -> float:
    labels = {"protocol": "grpc", "method": method, "model": model, "version": version}
    return served.value("requests_total", outcome=outcome, **labels)


def details(error: grpc.aio.AioRpcError) -> tuple[ErrorInfo, RequestInfo, RetryInfo | None]:
    status = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    info, named, retry = ErrorInfo(), RequestInfo(), RetryInfo()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(named)
    return info, named, retry if len(status.details) > 2 and status.details[2].Unpack(retry) else None


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await call
    return refusal.value


async def test_an_image_becomes_ranked_labels(served: Gateway) -> None:
    async with served.grpc() as channel:
        response = await ClassifierStub(channel).Classify(request(PNG, encoded("JPEG"), TEXT))
    assert (response.model, response.version, response.backend, response.dtype) == (
        "digits",
        "1.0",
        "eager",
        "float32",
    )
    first, second, third = response.results
    assert [(each.label, each.index, each.score) for each in first.predictions.predictions] == [
        ("two", 2, 0.75),
        ("zero", 0, 0.25),
    ]
    assert second == first
    assert (third.error.code, third.error.reason) == (3, "UNSUPPORTED_TYPE")
    assert response.timing.inference == 0.002
    assert counted(served, "Classify", "ok") == 1


async def test_options_and_deadline_reach_the_worker() -> None:
    served = gateway(default_timeout=20)
    async with served.grpc() as channel:
        stub = ClassifierStub(channel)
        await stub.Classify(request(PNG, options=ClassifyOptions(top_k=2, min_score=0.5)), timeout=5)
        await stub.Classify(request(PNG))
    short, default = served.workers.jobs
    assert (short.top_k, short.min_score, default.top_k, default.min_score) == (2, 0.5, 5, 0.0)
    assert 12 < default.expires_at - short.expires_at < 19  # and 15 s were there no time between them


async def test_the_request_id_is_in_the_initial_metadata_and_in_the_job(served: Gateway) -> None:
    async with served.grpc() as channel:
        call = ClassifierStub(channel).Classify(request(PNG), metadata=((ID, "mine"),))
        assert dict(await call.initial_metadata())[ID] == "mine"
        await call
        other = ClassifierStub(channel).ListModels(ListModelsRequest(), metadata=((ID, "not one at all"),))
        assert len(dict(await other.initial_metadata())[ID]) == 32
        await other
    assert served.workers.jobs[0].request_id == "mine"


@pytest.mark.parametrize(
    ("asked", "code", "reason"),
    [
        (request(), "INVALID_ARGUMENT", "INVALID_REQUEST"),
        (request(b""), "INVALID_ARGUMENT", "INVALID_REQUEST"),
        (request(TEXT), "INVALID_ARGUMENT", "UNSUPPORTED_TYPE"),
        (request(PNG[:20]), "INVALID_ARGUMENT", "UNDECODABLE"),
        (request(png_claiming(20_000, 20_000)), "INVALID_ARGUMENT", "TOO_LARGE"),
        (request(png_claiming(2000, 2000)), "INVALID_ARGUMENT", "TOO_LARGE"),
        (request(*[PNG] * (MAX_IMAGES + 1)), "INVALID_ARGUMENT", "TOO_LARGE"),
        (request(PNG, options=ClassifyOptions(top_k=0)), "INVALID_ARGUMENT", "INVALID_REQUEST"),
        (request(PNG, options=ClassifyOptions(top_k=10**6)), "INVALID_ARGUMENT", "INVALID_REQUEST"),
        (request(PNG, options=ClassifyOptions(min_score=-1)), "INVALID_ARGUMENT", "INVALID_REQUEST"),
        (request(PNG, model="huge"), "NOT_FOUND", "MODEL_NOT_FOUND"),
        (request(PNG, version="9"), "NOT_FOUND", "MODEL_NOT_FOUND"),
        (request(PNG, model="x" * 20_000), "NOT_FOUND", "MODEL_NOT_FOUND"),
    ],
)
async def test_bad_input_gets_the_status_of_the_table_and_names_the_request(
    served: Gateway, asked: ClassifyRequest, code: str, reason: str
) -> None:
    async with served.grpc() as channel:
        error = await refused(ClassifierStub(channel).Classify(asked, metadata=((ID, "mine"),)))
    assert error.code().name == code
    info, named, retry = details(error)
    assert (info.reason, info.domain, named.request_id, retry) == (reason, "swinserve", "mine", None)
    assert dict(error.trailing_metadata())[ID] == "mine"
    assert "(request mine)" in (error.details() or "")
    assert not served.workers.jobs


async def test_a_refusal_that_will_pass_says_when_to_try_again() -> None:
    served = gateway(loaded=False)
    async with served.grpc() as channel:
        error = await refused(ClassifierStub(channel).Classify(request(PNG)))
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    info, _, retry = details(error)
    assert info.reason == "NOT_READY"
    assert retry is not None
    assert retry.retry_delay.seconds == 1


async def test_a_shed_call_is_resource_exhausted() -> None:
    served = gateway(queue_size=1)
    async with served.grpc() as channel:
        error = await refused(ClassifierStub(channel).Classify(request(PNG, PNG)))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details(error)[2] is not None
    await until(lambda: counted(served, "Classify", "overloaded") == 1)


@pytest.mark.parametrize("method", ["Classify", "GetModel"])
async def test_a_bug_is_told_in_a_fixed_text_and_logged_whole(
    served: Gateway, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def bug(*_: Any) -> None:
        raise RuntimeError("secret path /etc/x")

    monkeypatch.setattr(served.classifier, "classify", bug)
    monkeypatch.setattr(served.classifier.models, "describe", bug)
    asked = request(PNG) if method == "Classify" else GetModelRequest()
    async with served.grpc() as channel:
        with capture_logs() as logs:
            error = await refused(getattr(ClassifierStub(channel), method)(asked, metadata=((ID, "mine"),)))
            await until(lambda: len(logs) == 2)  # after the status has gone out
    assert error.code() == grpc.StatusCode.INTERNAL
    assert error.details() == f"{InternalError().message} (request mine)"
    assert [(entry["event"], entry["request_id"]) for entry in logs] == [("bug", "mine"), ("call", "mine")]
    assert logs[0]["method"] == method
    await until(lambda: counted(served, method, "internal") == 1)
    assert served.value("in_flight_requests") == 0


async def test_a_deadline_that_passes_leaves_the_worker_alone(served: Gateway) -> None:
    served.workers.gate.clear()
    async with served.grpc() as channel:
        call = ClassifierStub(channel).Classify(request(PNG), timeout=1.0)
        await until(lambda: served.workers.jobs)
        assert (await refused(call)).code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert served.workers.finished == 0
        served.workers.gate.set()
        await until(lambda: served.model.admission.dispatched == 0)
    assert served.workers.finished == 1


async def test_a_caller_that_goes_away_frees_its_places_and_is_counted(served: Gateway) -> None:
    served.workers.gate.clear()
    async with served.grpc() as channel:
        call = ClassifierStub(channel).Classify(request(*[PNG] * MAX_IMAGES))
        await until(lambda: served.model.admission.dispatched == 4)
        call.cancel()
        await until(lambda: served.model.admission.waiting == 0)
        await until(lambda: served.value("in_flight_requests") == 0)
        served.workers.gate.set()
        await until(lambda: served.model.admission.dispatched == 0)
    assert served.workers.finished == 4
    await until(lambda: counted(served, "Classify", "cancelled") == 1)


async def test_models_are_listed_and_described() -> None:
    served = gateway([archive_of("a", "1"), archive_of("a", "2"), archive_of("b", "1")])
    async with served.grpc() as channel:
        stub = ClassifierStub(channel)
        listed = (await stub.ListModels(ListModelsRequest())).models
        assert [(each.name, each.version) for each in listed] == [("a", "1"), ("a", "2"), ("b", "1")]
        assert await stub.GetModel(GetModelRequest(model="a", version="2")) == listed[1]
        assert await stub.GetModel(GetModelRequest()) == listed[0]
        assert list(listed[0].versions) == ["1", "2"]
        error = await refused(stub.GetModel(GetModelRequest(model="c")))
    assert error.code() == grpc.StatusCode.NOT_FOUND
    await until(lambda: counted(served, "GetModel", "model_not_found", "", "") == 1)


async def test_a_stream_matches_answers_to_images_by_id(served: Gateway) -> None:
    async def images() -> AsyncIterator[ClassifyStreamRequest]:
        for number in range(300):
            content = TEXT if number % 10 == 3 else PNG
            yield ClassifyStreamRequest(id=f"i{number}", image=Image(content=content))

    async with served.grpc() as channel:
        call = ClassifierStub(channel).ClassifyStream(images(), metadata=((ID, "mine"),))
        assert dict(await call.initial_metadata())[ID] == "mine"
        answers = {answer.id: answer async for answer in call}
    assert set(answers) == {f"i{number}" for number in range(300)}
    for number in range(300):
        answer = answers[f"i{number}"]
        if number % 10 == 3:
            assert (answer.result.error.code, answer.result.error.reason) == (3, "UNSUPPORTED_TYPE")
        else:
            assert answer.result.predictions.predictions[0].label == "two"
            assert (answer.model, answer.version, answer.timing.decode) == ("digits", "1.0", 0.001)
    await until(lambda: counted(served, "ClassifyStream", "ok", "", "") == 1)
    assert {job.request_id for job in served.workers.jobs} == {"mine"}


async def classified(served: Gateway, *requests: ClassifyStreamRequest) -> list[ClassifyStreamResponse]:
    async with served.grpc() as channel:
        return [answer async for answer in ClassifierStub(channel).ClassifyStream(iter(requests))]


async def test_an_empty_stream_is_an_empty_answer(served: Gateway) -> None:
    assert await classified(served) == []


async def test_an_images_error_travels_in_its_answer_and_does_not_end_the_stream(served: Gateway) -> None:
    served.workers.reply = lambda job: error_to(job, Error.UNDECODABLE, "cut in row 3")
    answers = await classified(
        served,
        ClassifyStreamRequest(id="a", image=Image(content=PNG)),
        ClassifyStreamRequest(id="b", model="huge", image=Image(content=PNG)),
        ClassifyStreamRequest(id="c", image=Image(content=PNG), options=ClassifyOptions(top_k=0)),
        ClassifyStreamRequest(id="d"),
    )
    assert {answer.id: answer.result.error.reason for answer in answers} == {
        "a": "UNDECODABLE",
        "b": "MODEL_NOT_FOUND",
        "c": "INVALID_REQUEST",
        "d": "INVALID_REQUEST",
    }


async def test_a_bug_ends_the_stream_with_a_fixed_text(served: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    async def bug(call: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(served.classifier, "classify_bulk", bug)
    with capture_logs() as logs, pytest.raises(grpc.aio.AioRpcError) as error:
        await classified(served, ClassifyStreamRequest(id="a", image=Image(content=PNG)))
    assert error.value.code() == grpc.StatusCode.INTERNAL
    assert "secret" not in (error.value.details() or "")
    assert logs[0]["event"] == "bug"


async def test_a_caller_that_sends_without_reading_is_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    served = gateway(queue_size=1000)
    served.workers.gate.clear()
    reached = 0
    bulk = served.classifier.classify_bulk

    async def count(call: Any) -> Any:
        nonlocal reached
        reached += 1
        return await bulk(call)

    monkeypatch.setattr(served.classifier, "classify_bulk", count)
    async with served.grpc() as channel:
        call = ClassifierStub(channel).ClassifyStream()

        async def send() -> None:
            for number in range(200):
                await call.write(ClassifyStreamRequest(id=str(number), image=Image(content=PNG)))
            await call.done_writing()

        sending = asyncio.create_task(send())
        await until(lambda: reached >= STREAM_WINDOW)
        await asyncio.sleep(0.1)
        assert reached == STREAM_WINDOW
        served.workers.gate.set()
        ids = [answer.id async for answer in call]
        await sending
    assert sorted(map(int, ids)) == list(range(200))


async def test_a_stream_waits_for_room_in_the_queue_and_is_never_shed() -> None:
    served = gateway(queue_size=2)
    answers = await classified(
        served, *(ClassifyStreamRequest(id=str(number), image=Image(content=PNG)) for number in range(50))
    )
    assert {answer.result.WhichOneof("outcome") for answer in answers} == {"predictions"}
    assert served.workers.most_at_once <= 4
    assert served.model.admission.waiting == 0


async def test_a_stream_that_is_cancelled_leaves_nothing_behind(served: Gateway) -> None:
    served.workers.gate.clear()
    async with served.grpc() as channel:
        call = ClassifierStub(channel).ClassifyStream()
        for number in range(20):
            await call.write(ClassifyStreamRequest(id=str(number), image=Image(content=PNG)))
        await until(lambda: served.model.admission.dispatched == 4 and served.model.admission.waiting == 16)
        call.cancel()
        await until(lambda: served.model.admission.waiting == 0)
        await until(lambda: served.value("in_flight_requests") == 0)
        served.workers.gate.set()
        await until(lambda: served.model.admission.dispatched == 0)
    assert served.workers.finished == 4
    await until(lambda: counted(served, "ClassifyStream", "cancelled", "", "") == 1)


async def reflect(channel: grpc.aio.Channel, **asked: str) -> ServerReflectionResponse:
    call = ServerReflectionStub(channel).ServerReflectionInfo(iter([ServerReflectionRequest(**asked)]))
    (answer,) = [answer async for answer in call]
    return answer


async def test_reflection_lists_the_services(served: Gateway) -> None:
    async with served.grpc() as channel:
        listed = (await reflect(channel, list_services="")).list_services_response.service
    assert {each.name for each in listed} == {
        "swinserve.v1.Classifier",
        "inference.GRPCInferenceService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


async def test_a_client_that_knows_nothing_classifies_by_reflection(served: Gateway) -> None:
    async with served.grpc() as channel:
        found = await reflect(channel, file_containing_symbol="swinserve.v1.Classifier")
        pool = DescriptorPool()
        for file in found.file_descriptor_response.file_descriptor_proto:
            pool.Add(FileDescriptorProto.FromString(file))  # type: ignore[no-untyped-call]
        method = pool.FindServiceByName("swinserve.v1.Classifier").methods_by_name["Classify"]
        asked = GetMessageClass(method.input_type)()
        asked.images.add(content=PNG)  # type: ignore[attr-defined]
        classify = channel.unary_unary(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        answer: Any = await classify(asked)
    assert answer.results[0].predictions.predictions[0].label == "two"


async def test_health_tells_what_readiness_sees_to_who_asks_and_to_who_watches() -> None:
    served = gateway(loaded=False)
    await served.readiness.look()
    async with served.grpc() as channel:
        stub = HealthStub(channel)
        watch = stub.Watch(HealthCheckRequest(service="swinserve.v1.Classifier"))
        seen = [(await watch.read()).status]
        for service in ("", "swinserve.v1.Classifier"):
            assert (await stub.Check(HealthCheckRequest(service=service))).status == NOT_SERVING
        await until(lambda: served.model.workers.ready)  # the canary's answer
        await served.readiness.look()
        seen.append((await watch.read()).status)
        for service in ("", "swinserve.v1.Classifier"):
            assert (await stub.Check(HealthCheckRequest(service=service))).status == SERVING
        await served.readiness.close()
        seen.append((await watch.read()).status)
        watch.cancel()
        unknown = await refused(stub.Check(HealthCheckRequest(service="nothing")))
    assert seen == [NOT_SERVING, SERVING, NOT_SERVING]
    assert unknown.code() == grpc.StatusCode.NOT_FOUND


async def test_a_drain_answers_what_a_stream_has_sent_and_ends_it(served: Gateway) -> None:
    async with served.grpc() as channel:
        stream = ClassifierStub(channel).ClassifyStream()
        await stream.write(ClassifyStreamRequest(id="1", image=Image(content=PNG)))
        assert (await stream.read()).id == "1"
        served.classifier.closing.set()
        error = await refused(stream.read())
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert details(error)[0].reason == "DRAINING"


async def test_a_health_watch_ends_with_the_service(served: Gateway) -> None:
    async with served.grpc() as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert await watch.read() is not grpc.aio.EOF
        served.classifier.closing.set()
        while await watch.read() is not grpc.aio.EOF:
            pass


async def test_a_call_that_a_drain_cuts_is_unavailable_with_a_reason(served: Gateway) -> None:
    served.workers.gate.clear()
    async with served.grpc() as channel:
        asked = ClassifierStub(channel).Classify(request(PNG))
        await until(lambda: served.workers.jobs)
        assert served.calls.cut() == 1
        error = await refused(asked)
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert details(error)[0].reason == "DRAINING"


@pytest.mark.parametrize("method", ["Classify", "GetModel", "ListModels"])
async def test_bytes_that_are_no_message_are_the_callers_mistake(served: Gateway, method: str) -> None:
    """gRPC itself would blame the service, without a request id."""
    async with served.grpc() as channel:
        call = channel.unary_unary(f"/swinserve.v1.Classifier/{method}")
        error = await refused(call(b"\xff\xff", metadata=((ID, "mine"),)))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    info, named, _ = details(error)
    assert (info.reason, named.request_id) == ("INVALID_REQUEST", "mine")
    await until(lambda: counted(served, method, "invalid_request", model="", version="") == 1)


async def test_a_stream_answers_bytes_that_are_no_message_and_goes_on(served: Gateway) -> None:
    good = ClassifyStreamRequest(id="good", image=Image(content=PNG)).SerializeToString()
    async with served.grpc() as channel:
        call = channel.stream_stream("/swinserve.v1.Classifier/ClassifyStream")(iter([b"\xff", good, b""]))
        answers = [ClassifyStreamResponse.FromString(answer) async for answer in call]
    by_outcome = {(answer.id, answer.result.WhichOneof("outcome"), answer.result.error.reason) for answer in answers}
    assert by_outcome == {
        ("good", "predictions", ""),
        ("", "error", "INVALID_REQUEST"),  # both the bytes and the message without an image
    }
