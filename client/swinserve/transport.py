"""The seam between the clients and a protocol: a question and its call in, a result or a SwinserveError out."""

from dataclasses import dataclass
from typing import Protocol

from .results import Classification, ImageResult, Model
from .service import Service


@dataclass(frozen=True)
class Question:
    """What to ask of which images. Empty `model` or `version`, or None, leave the choice to the service."""

    images: tuple[bytes, ...]
    model: str = ""
    version: str = ""
    top_k: int | None = None
    min_score: float = 0.0
    embedding: bool = False
    class_activation_map: bool = False

    def missing(self, answer: Classification) -> str:
        """What was asked for and is not in the answer, in words; "" if nothing is."""
        good = [result for result in answer.results if result.error is None]
        if self.embedding and any(result.embedding is None for result in good):
            return "embedding"
        if self.class_activation_map and any(_lacks_map(result) for result in good):
            return "class activation map"
        return ""


@dataclass(frozen=True)
class Call:
    """How long one try of a call may take, in seconds, and the id that the service's log will know it by."""

    timeout: float
    request_id: str


class Transport(Protocol):
    """One protocol. Every method is one try, and raises SwinserveError and nothing of the library that it uses."""

    def classify(self, question: Question, call: Call) -> Classification: ...

    def models(self, call: Call) -> list[Model]: ...

    def model(self, name: str, version: str, call: Call) -> Model: ...

    def close(self) -> None: ...


class AsyncTransport(Protocol):
    """The same for a client that waits without blocking; nothing connects before it is asked."""

    async def classify(self, question: Question, call: Call) -> Classification: ...

    async def models(self, call: Call) -> list[Model]: ...

    async def model(self, name: str, version: str, call: Call) -> Model: ...

    async def close(self) -> None: ...


def _lacks_map(result: ImageResult) -> bool:
    maps = [prediction.class_activation_map for prediction in result.predictions]
    return any(values is None for values in maps) or (bool(maps) and result.map_region is None)


# Either library takes longer to import than everything else here together, and one is enough.


def transport_to(service: Service) -> Transport:
    """ValueError for what this protocol cannot be told."""
    if service.grpc:
        from .grpc_transport import GrpcTransport

        return GrpcTransport(service)
    from .http_transport import HttpTransport

    return HttpTransport(service)


def async_transport_to(service: Service) -> AsyncTransport:
    """ValueError for what this protocol cannot be told."""
    if service.grpc:
        from .async_grpc_transport import AsyncGrpcTransport

        return AsyncGrpcTransport(service)
    from .async_http_transport import AsyncHttpTransport

    return AsyncHttpTransport(service)
