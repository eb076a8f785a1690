"""The pipeline: requests -> drop expired -> decode pool -> uint8 batch -> engine -> top-k, one result per image.

Every failure is a value in its image's place; nothing crosses the batch.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import torch

from swin_handler.engine import Engine
from swin_handler.errors import Expired, ImageError, InternalFailure, OutOfMemory

log = logging.getLogger(__name__)

STICKY_EXIT = 70
"""Exit code (EX_SOFTWARE) of a worker whose CUDA context is lost; TorchServe starts another."""
_A_BUG = "the worker failed on this image; its log has the traceback"


@dataclass(frozen=True)
class Request:
    """What one row asks: every image gets its own result."""

    images: tuple[bytes, ...]
    top_k: int
    min_score: float = 0.0
    expires_at: float | None = None
    """time.monotonic() after which nobody reads the answer"""
    request_id: str = ""
    """The gateway's, for the log"""


@dataclass(frozen=True)
class Ranking:
    """Best first, both of the same length; scores are softmax probabilities."""

    indices: tuple[int, ...]
    scores: tuple[float, ...]


Result = Ranking | ImageError


@dataclass
class Facts:
    """What the whole batch took and was."""

    entered_at: float
    """time.monotonic() at the handler's entry"""
    decode_seconds: float = 0.0
    inference_seconds: float = 0.0
    batch_size: int = 0
    """Images that reached the forward pass."""
    padded_size: int = 0
    """The buckets they were padded to, added up."""


class Pipeline:
    def __init__(self, decode: Callable[[bytes], torch.Tensor], engine: Engine, pool: Executor) -> None:
        self._decode = decode
        self._engine = engine
        self._pool = pool

    def classify(self, requests: Sequence[Request], facts: Facts) -> list[list[Result]]:
        """One list per request, one result per image, in order; `facts` is filled in."""
        with _seconds() as decode_seconds:
            decoded = self._decode_all(requests)
        good = [(request, pixels) for request, pixels in decoded if isinstance(pixels, torch.Tensor)]
        with _seconds() as inference_seconds:
            logits = iter(self._infer([pixels for _, pixels in good], facts))
        ranked = [
            _rank(next(logits), request) if isinstance(pixels, torch.Tensor) else pixels for request, pixels in decoded
        ]
        facts.decode_seconds, facts.inference_seconds = decode_seconds(), inference_seconds()
        results = iter(ranked)
        return [list(islice(results, len(request.images))) for request in requests]

    def _decode_all(self, requests: Sequence[Request]) -> list[tuple[Request, torch.Tensor | ImageError]]:
        owners = [request for request in requests for _ in request.images]
        images = [image for request in requests for image in request.images]
        return list(zip(owners, self._pool.map(self._decode_one, owners, images), strict=True))

    def _decode_one(self, request: Request, image: bytes) -> torch.Tensor | ImageError:
        # Asked just before the work: under load much of a batch may expire while its first images decode.
        if request.expires_at is not None and time.monotonic() > request.expires_at:
            return Expired("the deadline had passed before the image was decoded")
        try:
            return self._decode(image)
        except ImageError as error:
            return error
        except Exception:
            log.exception("request %s: unexpected failure while decoding %d bytes", request.request_id, len(image))
            return InternalFailure(_A_BUG)

    def _infer(self, images: list[torch.Tensor], facts: Facts) -> list[torch.Tensor | ImageError]:
        """images: each uint8 (H, W, 3) -> logits of each, float32 (classes,)"""
        largest = self._engine.buckets[-1]
        logits: list[torch.Tensor | ImageError] = []
        for start in range(0, len(images), largest):
            chunk = torch.stack(images[start : start + largest])  # (B, H, W, 3)
            facts.batch_size += len(chunk)
            facts.padded_size += self._engine.bucket(len(chunk))
            logits += self._forward(chunk)
        return logits

    def _forward(self, pixels: torch.Tensor, *, may_split: bool = True) -> list[torch.Tensor | ImageError]:
        try:
            return list(self._engine.run(pixels))
        except Exception as error:
            if not _is_out_of_memory(error):
                _exit_if_sticky(error)
                log.exception("the forward pass of %d images failed", len(pixels))
                return [InternalFailure(_A_BUG)] * len(pixels)
        # Outside the except block: the exception's frames keep the tensors alive that must be freed first.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if not may_split:
            log.error("no memory for a batch of %d", len(pixels))
            return [OutOfMemory("the device had no memory for this image; try again")] * len(pixels)
        log.warning("no memory for a batch of %d: trying its halves", len(pixels))
        halves = torch.split(pixels, (len(pixels) + 1) // 2)
        return [row for half in halves for row in self._forward(half, may_split=False)]


def _rank(logits: torch.Tensor | ImageError, request: Request) -> Result:
    """logits: (classes,) -> the top_k classes whose score is at least min_score"""
    if isinstance(logits, ImageError):
        return logits
    if not bool(torch.isfinite(logits).all()):
        log.error("the model gave logits that are not finite")
        return InternalFailure("the model gave no finite answer for this image")
    scores, indices = torch.softmax(logits.float(), dim=0).topk(min(request.top_k, len(logits)))
    kept = int((scores >= request.min_score).sum())  # scores descend: the kept ones come first
    return Ranking(tuple(indices[:kept].tolist()), tuple(scores[:kept].tolist()))


def _is_out_of_memory(error: Exception) -> bool:
    # cuBLAS and the CPU allocator report it as a plain RuntimeError.
    text = str(error)
    told = ("out of memory", "ALLOC_FAILED", "can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in text for words in told)


def _exit_if_sticky(error: Exception) -> None:
    """End the process if its CUDA context is lost: every later batch would fail while the worker looks healthy."""
    told = any(words in str(error) for words in ("CUDA error", "Triton Error [CUDA]"))
    if isinstance(error, torch.AcceleratorError) or (isinstance(error, RuntimeError) and told):
        log.critical("CUDA context lost, ending this worker: %s", str(error).partition("\n")[0])
        os._exit(STICKY_EXIT)  # sys.exit would be caught by TorchServe, and would wait for the device


@contextmanager
def _seconds() -> Iterator[Callable[[], float]]:
    start = end = time.perf_counter()
    yield lambda: end - start
    end = time.perf_counter()
