"""A REST request that asks for images to be classified -> what the `Classifier` says, whatever its body looks like.

begin (is there such a model; the clock starts) → read → classify → respond
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

from fastapi import Header, Request
from fastapi.responses import Response

from swin_gateway import caller, large_work, stages
from swin_gateway.body import Take
from swin_gateway.call import Call
from swin_gateway.calls import Served
from swin_gateway.classifier import Classifier
from swin_gateway.errors import Cancelled, DeadlineExceeded, Draining
from swin_gateway.options import Options
from swin_gateway.pending_bytes import Holding
from swin_proto.v1.classifier_pb2 import ClassifyResponse

T = TypeVar("T")

Timeout = Annotated[float | None, Header(alias="x-request-timeout", description="deadline in seconds")]


def served(request: Request) -> Served:
    call: Served = request.scope["swinserve"]
    return call


class RestWork:
    def __init__(
        self, classifier: Classifier, request: Request, body: Holding, *, name: str, version: str, timeout: float | None
    ) -> None:
        self._classifier = classifier
        self._request = request
        self._body = body
        if served(request).arrived_late:
            raise Draining("the service is shutting down; another instance can answer this")
        self.model = classifier.models.find(name, version)
        served(request).by(self.model)
        self._deadline = time.monotonic() + classifier.time_limit(timeout)

    @classmethod
    @contextmanager
    def begin(
        cls, classifier: Classifier, request: Request, method: str, name: str, version: str, timeout: float | None
    ) -> Iterator[RestWork]:
        """Around all of it. method: its name in the metrics; timeout: in seconds, None for the service's default"""
        served(request).method = method
        with classifier.pending.holding(_caller(request)) as body:
            yield cls(classifier, request, body, name=name, version=version, timeout=timeout)

    async def read(self, reading: Callable[[Request, Take], Awaitable[T]]) -> T:
        """The body, by the deadline; what is read is counted."""
        try:
            async with asyncio.timeout_at(self._deadline):
                return await reading(self._request, self._body.add)
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed while the request was being sent") from None

    async def classify(
        self, images: list[bytes], options: Options, *, whole: bool = False, timeout: float | None = None
    ) -> ClassifyResponse:
        """whole: whether one image's failure is the call's; timeout: of it from here on, where the body named one"""
        call = served(self._request)
        left = self._deadline - time.monotonic()
        answer = self._classifier.classify(
            Call(
                model=self.model.name,
                version=self.model.version,
                images=images,
                options=options,
                timeout=left if timeout is None else min(left, timeout),
                request_id=call.request_id,
                caller=_caller(self._request),
                quota=call.grant.quota,
                body=self._body,
                trace=call.trace,
                whole=whole,
            )
        )
        call.response = response = await _unless_disconnected(self._request, answer)
        return response


async def respond(response: ClassifyResponse, write: Callable[[Mapping[str, str]], Response]) -> Response:
    """What is sent; write: makes it with such headers"""
    times = stages.seconds(response.timing).items()
    headers = {"server-timing": ", ".join(f"{name};dur={1000 * each:.3f}" for name, each in times)}
    return await large_work.done(response.ByteSize(), write, headers)


def _caller(request: Request) -> str:
    return served(request).grant.name or caller.of_rest(request.client)


async def _unless_disconnected(request: Request, answer: Coroutine[Any, Any, T]) -> T:
    """`answer`'s result; cancels it and raises Cancelled when the client goes away before."""
    work = asyncio.create_task(answer)
    gone = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait([work, gone], return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise Cancelled("the client went away")
        return work.result()
    finally:
        gone.cancel()
        work.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
