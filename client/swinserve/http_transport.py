"""Question -> the service's REST interface over httpx -> Classification."""

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
            answer = self._http.request(**arguments)
        return rest_messages.read(exchange, answer, call)
