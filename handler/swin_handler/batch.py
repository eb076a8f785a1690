"""The pipeline: requests -> drop expired -> decode pool -> uint8 batch -> engine -> one result per image.

Every failure is a value in its image's place; nothing crosses the batch.

    CPU      decode decode decode ▏forward pass ▏results
    a GPU    decode decode decode ▏results        whatever part of the batch is decoded is computed meanwhile
                    └ forward ┴ forward ┘
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass
from itertools import islice

from swin_handler.decode import Decoded
from swin_handler.engine import Engine
from swin_handler.errors import Expired, ImageError, InternalFailure, OutOfMemory
from swin_handler.forward_pass import A_BUG, ForwardPass
from swin_handler.request import Request
from swin_handler.result import Result

log = logging.getLogger(__name__)


@dataclass
class Facts:
    """What the whole batch took and was."""

    entered_at: float
    """time.monotonic() at the handler's entry"""
    decode_seconds: float = 0.0
    inference_seconds: float = 0.0
    """From the last image decoded to the last result; on a GPU most of it is over by then."""
    batch_size: int = 0
    """Images that reached the forward pass."""
    padded_size: int = 0
    """With what was added to fill batch buckets."""


class Pipeline:
    def __init__(
        self,
        decode: Callable[[bytes, float | None], Decoded],
        engine: Engine,
        pool: Executor,
        *,
        before_forward: Callable[[], None] = lambda: None,
    ) -> None:
        """before_forward: what it raises is taken as the forward pass's own failure"""
        self._decode = decode
        self._engine = engine
        self._forward_pass = ForwardPass(engine, before_forward)
        self._pool = pool

    def classify(self, requests: Sequence[Request], facts: Facts) -> list[list[Result]]:
        """One list per request, one result per image, in order; `facts` is filled in."""
        began = time.perf_counter()
        work = [(request, image) for request in requests for image in request.images]
        results: dict[int, Result] = {}
        images: dict[int, Decoded] = {}
        begun: list[tuple[list[int], Callable[[], list[Result]]]] = []

        def begin(places: list[int]) -> None:
            facts.batch_size += len(places)
            facts.padded_size += self._engine.padded(len(places))
            begun.append((places, self._forward_pass.begin([(work[place][0], images[place]) for place in places])))

        ready: list[int] = []
        for place, decoded in self._decoded(work):
            if isinstance(decoded, ImageError):
                results[place] = decoded
                continue
            images[place] = decoded
            ready.append(place)
            if len(ready) == self._engine.ahead:
                begin(ready)
                ready = []
        facts.decode_seconds = time.perf_counter() - began
        ready.sort()
        for first in range(0, len(ready), self._engine.buckets[-1]):
            begin(ready[first : first + self._engine.buckets[-1]])
        while begun:  # none is kept longer than it is needed
            places, answer = begun.pop(0)
            results.update(zip(places, answer(), strict=True))
        facts.inference_seconds = time.perf_counter() - began - facts.decode_seconds
        in_order = (results[place] for place in range(len(work)))
        return [list(islice(in_order, len(request.images))) for request in requests]

    def _decoded(self, work: Sequence[tuple[Request, bytes]]) -> Iterator[tuple[int, Decoded | ImageError]]:
        """(place in work, what became of it), as they are done."""
        # The largest first, or the last thread ends alone with it.
        order = sorted(range(len(work)), key=lambda place: len(work[place][1]), reverse=True)
        under_way = {self._pool.submit(self._decode_one, *work[place]): place for place in order}
        for done in as_completed(under_way):
            yield under_way[done], done.result()

    def _decode_one(self, request: Request, image: bytes) -> Decoded | ImageError:
        # Asked just before the work: under load much of a batch may expire while its first images decode.
        if request.expires_at is not None and time.monotonic() > request.expires_at:
            return Expired("the deadline had passed before the image was decoded")
        try:
            return self._decode(image, request.expires_at)
        except ImageError as error:
            return error
        except MemoryError:
            log.error("request %s: no memory to decode %d bytes", request.request_id, len(image))
            return OutOfMemory("the worker had no memory to decode this image; try again")
        except Exception:
            log.exception("request %s: unexpected failure while decoding %d bytes", request.request_id, len(image))
            return InternalFailure(A_BUG)
