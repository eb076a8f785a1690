"""The contract that both fakes keep, written down a second time so that the client's own table is really checked."""

from dataclasses import dataclass, field

# reason -> gRPC status, HTTP status, seconds to wait (None: not said)
REASONS: dict[str, tuple[str, int, float | None]] = {
    "INVALID_REQUEST": ("INVALID_ARGUMENT", 400, None),
    "UNAUTHENTICATED": ("UNAUTHENTICATED", 401, None),
    "PERMISSION_DENIED": ("PERMISSION_DENIED", 403, None),
    "MODEL_NOT_FOUND": ("NOT_FOUND", 404, None),
    "TOO_LARGE": ("INVALID_ARGUMENT", 413, None),
    "UNSUPPORTED_TYPE": ("INVALID_ARGUMENT", 415, None),
    "UNDECODABLE": ("INVALID_ARGUMENT", 422, None),
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
}
TIMING = {"queue": 0.001, "batch_wait": 0.002, "decode": 0.003, "inference": 0.004}
PREDICTIONS = [("three", 3, 0.75), ("one", 1, 0.25)]


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
    timeout: float | None = None
    request_id: str = ""


def outcomes(asked: Asked) -> list[str | None]:
    """For each image None or a reason. The model's name scripts a failing call, an image's bytes a bad image."""
    if asked.model.startswith("fail "):
        raise Refusal(asked.model.removeprefix("fail "))
    reasons = [image.decode().removeprefix("bad ") if image.startswith(b"bad ") else None for image in asked.images]
    if len(reasons) == 1 and reasons[0]:
        raise Refusal(reasons[0])
    return reasons
