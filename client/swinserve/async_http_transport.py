"""Question -> the service's REST interface over httpx, awaited -> Classification."""

import asyncio
from typing import TypeVar

import httpx

from . import rest_messages
from .errors import DeadlineExceeded
from .http_connection import HttpConnection
from .rest_messages import Exchange
from .results import Classification, Model
from .service import Service
from .transport import Call, Question

T = TypeVar("T")


class AsyncHttpTransport:
    """Keeps connections alive between calls. ValueError for what is no URL, and for certificates that are none."""

    def __init__(self, service: Service) -> None:
        self._url = service.url
        self._connection = HttpConnection(service)
        self._http = httpx.AsyncClient(verify=self._connection.verify())

    async def classify(self, question: Question, call: Call) -> Classification:
        return await self._ask(rest_messages.classify(question), call)

    async def models(self, call: Call) -> list[Model]:
        return await self._ask(rest_messages.models(), call)

    async def model(self, name: str, version: str, call: Call) -> Model:
        return await self._ask(rest_messages.model(name, version), call)

    async def close(self) -> None:
        await self._http.aclose()

    async def _ask(self, exchange: Exchange[T], call: Call) -> T:
        try:
            # httpx bounds each wait; this bounds all of them together.
            async with asyncio.timeout(call.timeout):
                with self._connection.a_try(exchange, call) as arguments:
                    answer = await self._http.request(**arguments)
        except TimeoutError as error:
            message = f"{self._url} did not answer within {call.timeout:g} s"
            raise DeadlineExceeded(message, reason="DEADLINE_EXCEEDED", request_id=call.request_id) from error
        return rest_messages.read(exchange, answer, call)
