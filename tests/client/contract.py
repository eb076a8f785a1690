"""The contract that both fakes keep, written down a second time so that the client's own table is really checked."""

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

# reason -> gRPC status, HTTP status, seconds to wait (None: not said)
REASONS: dict[str, tuple[str, int, float | None]] = {
    "INVALID_REQUEST": ("INVALID_ARGUMENT", 400, None),
    "UNAUTHENTICATED": ("UNAUTHENTICATED", 401, None),
    "PERMISSION_DENIED": ("PERMISSION_DENIED", 403, None),
    "MODEL_NOT_FOUND": ("NOT_FOUND", 404, None),
    "TOO_LARGE": ("INVALID_ARGUMENT", 413, None),
    "UNSUPPORTED_TYPE": ("INVALID_ARGUMENT", 415, None),
    "UNDECODABLE": ("INVALID_ARGUMENT", 422, None),
    "RATE_LIMITED": ("RESOURCE_EXHAUSTED", 429, 2.0),
    "OVERLOADED": ("RESOURCE_EXHAUSTED", 429, 2.0),
    "DEADLINE_UNREACHABLE": ("RESOURCE_EXHAUSTED", 429, 0.5),
    "CANCELLED": ("CANCELLED", 499, None),
    "INTERNAL": ("INTERNAL", 500, None),
    "NOT_READY": ("UNAVAILABLE", 503, 3.0),
    "DRAINING": ("UNAVAILABLE", 503, 1.0),
    "WORKER_LOST": ("UNAVAILABLE", 503, 1.0),
    "DEADLINE_EXCEEDED": ("DEADLINE_EXCEEDED", 504, None),
}

MODEL = {
    "name": "swin_digits",
    "version": "1",
    "versions": ["1", "2"],
    "ready": True,
    "architecture": "swin_nano",
    "input_height": 32,
    "input_width": 64,
    "labels": ["zero", "one", "two", "three"],
    "parameters": 240_000,
    "multiply_adds": 5_000_000_000,  # more than 32 bits hold
    "dtype": "float32",
    "backend": "eager",
    "backend_reason": "the fake's choice",
    "batch_buckets": [1, 2, 4],
    "weights": "random",
    "embedding_size": 3,
    "activation_map_height": 2,
    "activation_map_width": 3,
    "backend_timings": [
        {
            "backend": "native",
            "batch_bucket": 2,
            "best_seconds": 0.016,
            "median_seconds": 0.02,
            "relative_l2": 1e-6,
            "chosen": True,
        },
        {
            "backend": "eager",
            "batch_bucket": 1,
            "best_seconds": 0.01,
            "median_seconds": 0.0125,
            "relative_l2": 0.0,
            "chosen": True,
        },
        {
            "backend": "eager",
            "batch_bucket": 2,
            "best_seconds": 0.02,
            "median_seconds": 0.025,
            "relative_l2": 0.0,
            "chosen": False,
        },
    ],
    "preprocessing": "short side to 32",
    "accuracy": "99 % of its own digits",
    "licence": "apache-2.0",
}
TIMING = {"queue": 0.001, "batch_wait": 0.002, "decode": 0.003, "inference": 0.004}
PREDICTIONS = [("three", 3, 0.75), ("one", 1, 0.25)]
EMBEDDING = [3.0, -4.0, 0.1]
MAPS = {"three": [0.0, 1.0, 2.0, 3.0, 4.0, 5.5], "one": [-1.0, 0.0, 0.0, 0.0, 0.0, 1e-9]}
"""2 rows of 3."""
REGION = {"left": 0.25, "top": -0.5, "right": 0.75, "bottom": 1.5}
LARGE = 2_000_000
"""Numbers in the embedding of the model "large": twice what gRPC takes by itself."""


class Certificate(NamedTuple):
    """Of a fake that speaks TLS: PEM files, and the CA that its callers' certificates are of."""

    chain: Path
    key: Path
    client_ca: Path


class Refusal(Exception):
    """The call fails as its reason says."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"refused: {reason}")
        self.reason = reason


@dataclass
class Asked:
    """What a fake was asked, as it arrived."""

    images: list[bytes] = field(default_factory=list)
    model: str = ""
    version: str = ""
    top_k: int | None = None
    min_score: float = 0.0
    embedding: bool = False
    class_activation_map: bool = False
    timeout: float | None = None
    request_id: str = ""
    authorization: str = ""


def outcomes(asked: Asked) -> list[str | None]:
    """For each image None or a reason. The model's name scripts a failing call, an image's bytes a bad image."""
    if asked.model.startswith("fail "):
        raise Refusal(asked.model.removeprefix("fail "))
    reasons = [image.decode().removeprefix("bad ") if image.startswith(b"bad ") else None for image in asked.images]
    if len(reasons) == 1 and reasons[0]:
        raise Refusal(reasons[0])
    return reasons


class Tensor(NamedTuple):
    """float32, little-endian."""

    shape: list[int]
    data: bytes


@dataclass
class Found:
    """What the fake model says of a good image; a prediction is label, index, score and map. None: not asked for."""

    predictions: list[tuple[str, int, float, Tensor | None]]
    embedding: Tensor | None
    region: dict[str, float] | None


def found(asked: Asked) -> Found:
    """The model's name scripts what is odd: "headless" has no classes, "forgetful" leaves out what was asked for,
    "misshapen" gives one number too many, "nowhere" a region beside the image, "large" an embedding of megabytes."""
    if asked.model == "forgetful":
        return Found([(*best, None) for best in PREDICTIONS], None, None)
    best = [] if asked.model == "headless" else PREDICTIONS[: asked.top_k]
    predictions = [(*one, _tensor([2, 3], MAPS[one[0]]) if asked.class_activation_map else None) for one in best]
    numbers = [0.5] * LARGE if asked.model == "large" else EMBEDDING
    size = len(numbers) - (asked.model == "misshapen")
    embedding = _tensor([size], numbers) if asked.embedding or asked.model == "headless" else None
    region = REGION | ({"left": 2.0, "right": 3.0} if asked.model == "nowhere" else {})
    return Found(predictions, embedding, region if asked.class_activation_map else None)


def _tensor(shape: list[int], numbers: list[float]) -> Tensor:
    return Tensor(shape, struct.pack(f"<{len(numbers)}f", *numbers))
