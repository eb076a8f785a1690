"""A module on a CUDA device -> one captured forward pass for each batch bucket, replayed without Python.

Of the hundreds of kernels of a small batch each takes less time than its launch; a graph launches them all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from swin_handler.engine.in_flight import CudaStream, InFlight
from swin_handler.outputs import Outputs

_WARM_UPS = 3
"""Passes before the capture: they compile, choose algorithms and allocate what a capture must not."""

OnDevice = Callable[[torch.Tensor], Outputs]
"""uint8 (bucket, H, W, 3) on the device -> Outputs on the device"""


@dataclass(frozen=True)
class CapturedForward:
    """One bucket's Forward."""

    bucket: int
    module: OnDevice
    """Kept alive: the graph reads its weights."""
    replay: Callable[[], None]
    outputs: Outputs
    """Where a replay leaves its answer."""
    in_flight: InFlight

    def start(self, pixels: torch.Tensor) -> Callable[[], Outputs]:
        """As a call, but it returns at once, with what waits for the answer; then the next batch may be started."""
        with torch.inference_mode():
            return self.in_flight.start(pixels, self.replay, self.outputs)

    def __call__(self, pixels: torch.Tensor) -> Outputs:
        return self.start(pixels)()


def capture(
    modules: dict[int, OnDevice], image_size: Sequence[int], device: torch.device
) -> dict[int, CapturedForward]:
    """modules: batch bucket -> what computes it; image_size: H, W

    Raises what the modules raise, and RuntimeError where one does what cannot be captured.
    """
    with torch.cuda.device(device), torch.inference_mode():
        computing = CudaStream(device)
        largest = torch.Size((max(modules), *image_size, 3))
        in_flight = InFlight(largest, device, uploads=CudaStream(device), computing=computing)
        pool = torch.cuda.graph_pool_handle()
        forwards = {}
        # The largest first: the others then find room in the memory that it leaves free.
        for bucket in sorted(modules, reverse=True):
            replay, outputs = _captured(modules[bucket], in_flight.input[:bucket], computing.stream, pool)
            forwards[bucket] = CapturedForward(bucket, modules[bucket], replay, outputs, in_flight)
        return forwards


def _captured(
    module: OnDevice, pixels: torch.Tensor, stream: torch.cuda.Stream, pool: Any
) -> tuple[Callable[[], None], Outputs]:
    """All graphs share `pool`: that is safe as none runs beside another and outputs are copied behind each replay."""
    stream.wait_stream(torch.cuda.current_stream(pixels.device))
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UPS):
            module(pixels)
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    # Other threads, of the decode pool for one, may use the device meanwhile.
    with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
        outputs = module(pixels)
    return graph.replay, outputs
