"""The seam between the client and a protocol: a question and its call in, a result or a SwinserveError out."""

from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from .results import Classification, ImageResult, Model


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
    """How long one call may take, in seconds, and the id that the service's log will know it by."""

    timeout: float
    request_id: str


class Transport(Protocol):
    """One protocol. Every method raises SwinserveError and nothing of the library that it speaks through."""

    def classify(self, question: Question, call: Call) -> Classification: ...

    def models(self, call: Call) -> list[Model]: ...

    def model(self, name: str, version: str, call: Call) -> Model: ...

    def close(self) -> None: ...


def _lacks_map(result: ImageResult) -> bool:
    maps = [prediction.class_activation_map for prediction in result.predictions]
    return any(values is None for values in maps) or (bool(maps) and result.map_region is None)


def open_transport(url: str) -> Transport:
    """`grpc://host[:port]`, `http://…` or `https://…` -> Transport. ValueError for any other URL."""
    parts = urlsplit(url)
    if not parts.hostname or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"{url!r} is not a server's URL such as grpc://127.0.0.1:8001 or http://127.0.0.1:8000")
    # Either library takes longer to import than everything else here together, and one is enough.
    if parts.scheme == "grpc" and parts.path in ("", "/"):
        from .grpc_transport import GrpcTransport

        return GrpcTransport(parts.netloc if parts.port is not None else f"{parts.netloc.rstrip(':')}:8001")
    if parts.scheme in ("http", "https"):
        from .http_transport import HttpTransport

        return HttpTransport(url)
    raise ValueError(f"{url!r} starts with none of grpc://host:port, http:// and https://")
