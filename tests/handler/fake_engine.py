"""An engine and a decoder whose answers follow from the first byte of the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from swin_handler.decode import Decoded
from swin_handler.errors import Undecodable
from swin_handler.outputs import Outputs
from swin_handler.region import Region
from swin_handler.request import Request
from swin_handler.result import Predictions

REGION = Region(0.125, 0, 0.875, 1)


class FakeEngine:
    """Outputs that follow from the pixels: class, embedding and features are the first byte of the image."""

    backend = "fake"
    dtype = "float32"
    note = ""
    ahead = 0

    def __init__(self, *buckets: int, fail: Callable[[torch.Tensor], None] = lambda _pixels: None) -> None:
        self.buckets = buckets
        self.sizes: list[int] = []
        self._fail = fail

    def padded(self, size: int) -> int:
        return min(bucket for bucket in self.buckets if bucket >= size)

    def run(self, pixels: torch.Tensor) -> Outputs:
        self.sizes.append(len(pixels))
        self._fail(pixels)
        first = pixels[:, 0, 0, 0]
        logits = torch.nn.functional.one_hot(first.long(), 10).float() * 5
        embedding = first[:, None].expand(-1, 3).to(torch.bfloat16)
        return Outputs(logits, embedding, embedding[:, None, None].expand(-1, 2, 4, -1))

    def start(self, pixels: torch.Tensor) -> Callable[[], Outputs]:
        outputs = self.run(pixels)
        return lambda: outputs

    def activation_maps(self, features: torch.Tensor, classes: Sequence[int]) -> torch.Tensor:
        return torch.stack([features.float().mean(dim=-1) + index for index in classes])


def decode(data: bytes, until: float | None = None) -> Decoded:
    if data == b"bad":
        raise Undecodable("bad")
    if data == b"bug":
        raise ZeroDivisionError
    return Decoded(torch.full((2, 2, 3), data[0], dtype=torch.uint8), REGION)


def request(*images: bytes, top_k: int = 1, **asked: Any) -> Request:
    return Request(images, top_k, **asked)


def classes(results: list[list[object]]) -> list[list[object]]:
    return [[r.indices[0] if isinstance(r, Predictions) else type(r) for r in row] for row in results]
