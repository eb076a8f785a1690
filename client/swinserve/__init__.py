"""Client of a Swinserve service: image bytes or files in, ranked labels out, the same over gRPC and REST.

from swinserve import Client

with Client("grpc://127.0.0.1:8001") as client:
    answer = client.classify("three.png")
print(answer.results[0].predictions[0].label)
"""

from .asking import ClassifyOptions
from .async_client import AsyncClient
from .bulk import StreamedImage
from .client import Client
from .errors import (
    Cancelled,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    SwinserveError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UndecodableImage,
    UnsupportedType,
)
from .results import BackendTiming, Classification, ImageResult, Model, Prediction, Region, Timing

__all__ = [
    "AsyncClient",
    "BackendTiming",
    "Cancelled",
    "Classification",
    "ClassifyOptions",
    "Client",
    "DeadlineExceeded",
    "ImageResult",
    "InternalError",
    "InvalidRequest",
    "Model",
    "NotFound",
    "Overloaded",
    "PermissionDenied",
    "Prediction",
    "Region",
    "StreamedImage",
    "SwinserveError",
    "Timing",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "UndecodableImage",
    "UnsupportedType",
    "__version__",
]

__version__: str


def __getattr__(name: str) -> str:
    """The version is what the installed distribution says; reading it costs more than the rest of this import."""
    if name == "__version__":
        from importlib.metadata import version

        return version("swinserve")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
