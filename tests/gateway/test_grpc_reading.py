"""Calls whose message comes late, broken or not at all: the real server, and clients that speak in raw bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from swin_proto.v1.classifier_pb2 import ClassifyRequest, Image
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub

from .assembly import PNG, Gateway, gateway, until
from .test_grpc_api import details

METHODS = (
    "/swinserve.v1.Classifier/Classify",
    "/swinserve.v1.Classifier/ListModels",
    "/swinserve.v1.Classifier/GetModel",
    "/grpc.health.v1.Health/Check",
)


async def never() -> AsyncIterator[bytes]:
    """The client's side of a call that it has begun and says nothing in."""
    await asyncio.sleep(60)
    yield b""


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


@pytest.mark.parametrize("method", METHODS)
async def test_a_message_that_does_not_come_has_the_default_deadline(method: str) -> None:
    served = gateway(default_timeout=0.1)
    async with served.grpc() as channel:
        error = await refusal(channel.stream_unary(method)(never(), metadata=(("x-request-id", "mine"),)))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    info, request, _ = details(error)
    assert (info.reason, request.request_id) == ("DEADLINE_EXCEEDED", "mine")
    if "Classifier" in method:
        labels = {"protocol": "grpc", "method": method.rpartition("/")[2], "model": "", "version": ""}
        await until(lambda: served.value("requests_total", outcome="deadline_exceeded", **labels) == 1)


async def test_a_watch_that_does_not_say_what_to_watch_ends_too() -> None:
    async with gateway(default_timeout=0.1).grpc() as channel:
        call = channel.stream_stream("/grpc.health.v1.Health/Watch")(never())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_watch_that_does_is_answered(served: Gateway) -> None:
    await served.readiness.look()
    async with served.grpc() as channel:
        call = HealthStub(channel).Watch(HealthCheckRequest())
        assert (await call.read()).status
        call.cancel()


@pytest.mark.parametrize("method", METHODS)
async def test_a_message_that_is_none_is_refused_and_no_bug(served: Gateway, method: str) -> None:
    async with served.grpc() as channel:
        error = await refusal(channel.unary_unary(method)(b"\xff\xff\xff this is no message"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details(error)[0].reason == "INVALID_REQUEST"


async def test_a_call_without_a_message_is_refused(served: Gateway) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        return
        yield b""

    async with served.grpc() as channel:
        error = await refusal(channel.stream_unary(METHODS[0])(nothing()))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "no message" in str(error.details())


async def test_a_method_that_there_is_not_is_unimplemented(served: Gateway) -> None:
    async with served.grpc() as channel:
        error = await refusal(channel.unary_unary("/swinserve.v1.Classifier/Train")(b""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_deadline_that_the_client_brings_is_its_own(served: Gateway) -> None:
    async with served.grpc() as channel:
        error = await refusal(channel.stream_unary(METHODS[0])(never(), timeout=0.1))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_good_call_beside_silent_ones_is_answered(served: Gateway) -> None:
    async with served.grpc() as channel:
        silent = [channel.stream_unary(METHODS[0])(never()) for _ in range(50)]
        response = await ClassifierStub(channel).Classify(ClassifyRequest(images=[Image(content=PNG)]))
        assert response.results[0].predictions.predictions[0].label == "two"
        for call in silent:
            call.cancel()
