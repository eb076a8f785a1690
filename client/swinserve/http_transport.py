"""Question -> the service's REST interface over httpx -> Classification."""

import time
from collections.abc import Iterator
from typing import TypeVar

import httpx

from . import rest_messages
from .http_connection import HttpConnection
from .rest_messages import Exchange
from .results import Classification, Model
from .service import Service
from .transport import Call, Question

T = TypeVar("T")


class HttpTransport:
    """Keeps connections alive between calls. ValueError for what is no URL, and for certificates that are none."""

    def __init__(self, service: Service) -> None:
        self._connection = HttpConnection(service)
        self._http = httpx.Client(verify=self._connection.verify())

    def classify(self, question: Question, call: Call) -> Classification:
        return self._ask(rest_messages.classify(question), call)

    def models(self, call: Call) -> list[Model]:
        return self._ask(rest_messages.models(), call)

    def model(self, name: str, version: str, call: Call) -> Model:
        return self._ask(rest_messages.model(name, version), call)

    def close(self) -> None:
        self._http.close()

    def _ask(self, exchange: Exchange[T], call: Call) -> T:
        with self._connection.a_try(exchange, call) as arguments:
            until = time.monotonic() + call.timeout
            with self._http.stream(**arguments) as streamed:
                raw = b"".join(_in_time(streamed.iter_raw(), until))
            # Decodes as a whole what came in pieces.
            answer = httpx.Response(
                streamed.status_code, headers=streamed.headers, content=raw, request=streamed.request
            )
        return rest_messages.read(exchange, answer, call)


def _in_time(chunks: Iterator[bytes], until: float) -> Iterator[bytes]:
    """httpx bounds each wait alone, so an answer that drips would never be late."""
    for chunk in chunks:
        if time.monotonic() > until:
            raise httpx.ReadTimeout("the answer had begun")
        yield chunk
