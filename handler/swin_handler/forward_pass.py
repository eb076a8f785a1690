"""Decoded images -> forward pass -> one result per image, whatever becomes of the pass.

A batch that the device has no memory for is tried in halves; what else fails costs its own images only, unless the
device itself is lost.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import torch

from swin_handler.decode import Decoded
from swin_handler.engine import Engine
from swin_handler.errors import ImageError, InternalFailure, OutOfMemory
from swin_handler.outputs import Outputs
from swin_handler.request import Request
from swin_handler.result import ActivationMaps, Predictions, Result

log = logging.getLogger(__name__)

STICKY_EXIT = 70
"""Exit code (EX_SOFTWARE) of a worker whose CUDA context is lost; TorchServe starts another."""
A_BUG = "the worker failed on this image; its log has the traceback"

Row = tuple[Request, Decoded]
T = TypeVar("T")


class ForwardPass:
    def __init__(self, engine: Engine, before: Callable[[], None]) -> None:
        """before: what it raises is taken as the pass's own failure"""
        self._engine = engine
        self._before = before

    def begin(self, rows: Sequence[Row], *, may_split: bool = True) -> Callable[[], list[Result]]:
        """Returns what waits for the results; a device that works beside the CPU is at it meanwhile.

        rows: at most as many as the largest batch bucket
        """
        begun = self._attempt(rows, lambda: self._start(rows), may_split=may_split)
        if isinstance(begun, list):
            return lambda: begun
        # Taken out when it is asked: what it holds on the device must be gone before the halves are tried.
        waiting = [begun]
        return lambda: self._attempt(rows, lambda: self._results(rows, waiting.pop()()), may_split=may_split)

    def _start(self, rows: Sequence[Row]) -> Callable[[], Outputs]:
        self._before()
        return self._engine.start(torch.stack([image.pixels for _, image in rows]))  # of (B, H, W, 3)

    def _attempt(self, rows: Sequence[Row], step: Callable[[], T], *, may_split: bool) -> T | list[Result]:
        """What `step` returns, or, when it fails, the results of all rows."""
        try:
            return step()
        except Exception as error:
            if not _is_out_of_memory(error):
                _exit_if_sticky(error)
                log.exception("the forward pass of %d images failed", len(rows))
                return [InternalFailure(A_BUG)] * len(rows)
        # Outside the except block: the exception's frames keep the tensors alive that must be freed first.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if not may_split:
            log.error("no memory for a batch of %d", len(rows))
            return [OutOfMemory("the device had no memory for this image; try again")] * len(rows)
        log.warning("no memory for a batch of %d: trying its halves", len(rows))
        middle = (len(rows) + 1) // 2
        halves = [half for half in (rows[:middle], rows[middle:]) if half]
        return [result for half in halves for result in self.begin(half, may_split=False)()]

    def _results(self, rows: Sequence[Row], outputs: Outputs) -> list[Result]:
        """Whatever else reads the device happens in here, where its errors are understood."""
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
