"""The pipeline: requests -> drop expired -> decode pool -> uint8 batch -> engine -> one result per image.

Every failure is a value in its image's place; nothing crosses the batch.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice

import torch

from swin_handler.decode import Decoded
from swin_handler.engine import Engine
from swin_handler.errors import Expired, ImageError, InternalFailure, OutOfMemory
from swin_handler.outputs import Outputs
from swin_handler.request import Request
from swin_handler.result import ActivationMaps, Predictions, Result

log = logging.getLogger(__name__)

STICKY_EXIT = 70
"""Exit code (EX_SOFTWARE) of a worker whose CUDA context is lost; TorchServe starts another."""
_A_BUG = "the worker failed on this image; its log has the traceback"


_Row = tuple[Request, Decoded]


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
    def __init__(
        self,
        decode: Callable[[bytes], Decoded],
        engine: Engine,
        pool: Executor,
        *,
        before_forward: Callable[[], None] = lambda: None,
    ) -> None:
        """before_forward: what it raises is taken as the forward pass's own failure"""
        self._decode = decode
        self._before_forward = before_forward
        self._engine = engine
        self._pool = pool

    def classify(self, requests: Sequence[Request], facts: Facts) -> list[list[Result]]:
        """One list per request, one result per image, in order; `facts` is filled in."""
        with _seconds() as decode_seconds:
            decoded = self._decode_all(requests)
        good = [(request, image) for request, image in decoded if isinstance(image, Decoded)]
        with _seconds() as inference_seconds:
            inferred = iter(self._infer(good, facts))
        facts.decode_seconds, facts.inference_seconds = decode_seconds(), inference_seconds()
        results = (next(inferred) if isinstance(image, Decoded) else image for _, image in decoded)
        return [list(islice(results, len(request.images))) for request in requests]

    def _decode_all(self, requests: Sequence[Request]) -> list[tuple[Request, Decoded | ImageError]]:
        work = [(request, image) for request in requests for image in request.images]
        # The largest first, or the last thread ends alone with it.
        order = sorted(range(len(work)), key=lambda place: len(work[place][1]), reverse=True)
        done = dict(zip(order, self._pool.map(self._decode_one, (work[place] for place in order)), strict=True))
        return [(request, done[place]) for place, (request, _image) in enumerate(work)]

    def _decode_one(self, work: tuple[Request, bytes]) -> Decoded | ImageError:
        request, image = work
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

    def _infer(self, rows: Sequence[_Row], facts: Facts) -> list[Result]:
        largest = self._engine.buckets[-1]
        results: list[Result] = []
        for start in range(0, len(rows), largest):
            chunk = rows[start : start + largest]
            facts.batch_size += len(chunk)
            facts.padded_size += self._engine.bucket(len(chunk))
            results += self._forward(chunk)
        return results

    def _forward(self, rows: Sequence[_Row], *, may_split: bool = True) -> list[Result]:
        try:
            return self._answer(rows)
        except Exception as error:
            if not _is_out_of_memory(error):
                _exit_if_sticky(error)
                log.exception("the forward pass of %d images failed", len(rows))
                return [InternalFailure(_A_BUG)] * len(rows)
        # Outside the except block: the exception's frames keep the tensors alive that must be freed first.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if not may_split:
            log.error("no memory for a batch of %d", len(rows))
            return [OutOfMemory("the device had no memory for this image; try again")] * len(rows)
        log.warning("no memory for a batch of %d: trying its halves", len(rows))
        middle = (len(rows) + 1) // 2
        return [
            result for half in (rows[:middle], rows[middle:]) if half for result in self._forward(half, may_split=False)
        ]

    def _answer(self, rows: Sequence[_Row]) -> list[Result]:
        """One forward pass; whatever else reads the device happens in here, where its errors are understood."""
        self._before_forward()
        outputs = self._engine.run(torch.stack([image.pixels for _, image in rows]))  # of (B, H, W, 3)
        embeddings = _embeddings(outputs, [request for request, _ in rows])
        results: list[Result] = []
        for index, (request, image) in enumerate(rows):
            found = _rank(outputs.logits[index], embeddings.get(index), request)
            if request.class_activation_map and isinstance(found, Predictions):
                assert outputs.features is not None, "the service refuses what the model cannot give"
                maps = self._engine.activation_maps(outputs.features[index], found.indices)
                found = replace(found, activation_maps=ActivationMaps(maps, image.region))
            results.append(found)
        return results


def _embeddings(outputs: Outputs, requests: Sequence[Request]) -> dict[int, torch.Tensor]:
    """Row -> float32 (D,) on the CPU, for the rows that ask, or all if there is nothing else; moved in one go."""
    headless = not outputs.logits.shape[1]
    rows = [index for index, request in enumerate(requests) if request.embedding or headless]
    if not rows:
        return {}
    assert outputs.embedding is not None, "the service refuses what the model cannot give"
    return dict(zip(rows, outputs.embedding[rows].float().cpu(), strict=True))


def _rank(logits: torch.Tensor, embedding: torch.Tensor | None, request: Request) -> Predictions | ImageError:
    """logits: (classes,) -> the top_k classes whose score is at least min_score"""
    if not all(bool(torch.isfinite(values).all()) for values in (logits, embedding) if values is not None):
        log.error("the model gave numbers that are not finite")
        return InternalFailure("the model gave no finite answer for this image")
    scores, indices = torch.softmax(logits.float(), dim=0).topk(min(request.top_k, len(logits)))
    kept = int((scores >= request.min_score).sum())  # scores descend: the kept ones come first
    return Predictions(tuple(indices[:kept].tolist()), tuple(scores[:kept].tolist()), embedding)


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
