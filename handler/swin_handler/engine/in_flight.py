"""Batches on their way through a device: uint8 (bucket, H, W, 3) on the CPU -> Outputs, the next upload under way.

    CPU memory ─▶ slot: pinned ─ uploads ─▶ slot: on the device ─ computing ─▶ input ─ replay ─▶ outputs ─▶ copies

There are two slots, so that a batch can be uploaded while the one before it is computed. Input and outputs are the
fixed memory of a captured forward pass: the next replay overwrites them, so a batch's outputs are copied behind its
replay, on the same stream.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from swin_handler.outputs import Outputs


class Event(Protocol):
    def synchronize(self) -> None:
        """Wait until everything that was in the stream when this was recorded is done."""


class Stream(Protocol):
    """Work in the order it came, beside the CPU's."""

    def run(self, work: Callable[[], None]) -> None: ...
    def record(self) -> Event: ...
    def wait(self, event: Any) -> None:
        """What comes later begins after an event of another stream."""


class CudaStream:
    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def run(self, work: Callable[[], None]) -> None:
        with torch.cuda.stream(self.stream):
            work()

    def record(self) -> torch.cuda.Event:
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(self.stream)
        return event

    def wait(self, event: torch.cuda.Event) -> None:
        self.stream.wait_event(event)


@dataclass
class _Slot:
    pinned: torch.Tensor
    """uint8 (largest bucket, H, W, 3) on the CPU; the device reads it while the CPU goes on only if it is pinned"""
    arrived: torch.Tensor
    """The same on the device."""
    free: Event | None = None
    """When the last batch has left it."""


class InFlight:
    """What the forward passes of all buckets share: two slots, two streams, one input; one batch is started at a time.

    Memory is shared too, so that no two passes may run at once: all compute on one stream.
    """

    def __init__(self, largest: torch.Size, device: torch.device, *, uploads: Stream, computing: Stream) -> None:
        """largest: (largest bucket, H, W, 3)"""
        pin = device.type == "cuda"
        self._slots = [
            _Slot(
                torch.empty(largest, dtype=torch.uint8, pin_memory=pin),
                torch.empty(largest, dtype=torch.uint8, device=device),
            )
            for _ in range(2)
        ]
        self.input = torch.zeros(largest, dtype=torch.uint8, device=device)
        self.computing = computing
        self._uploads = uploads
        self._lock = threading.Lock()

    def start(self, pixels: torch.Tensor, replay: Callable[[], None], outputs: Outputs) -> Callable[[], Outputs]:
        """Returns what waits for the answer. `replay` reads the first len(pixels) of `input` and fills `outputs`.

        The device's errors, out of memory among them, come out of here or of the waiting, as they are.
        """
        kept: list[Outputs] = []
        with self._lock:
            self._upload(pixels)
            self.computing.run(replay)
            self.computing.run(lambda: kept.append(_copies(outputs)))
            done = self.computing.record()

        def answer() -> Outputs:
            done.synchronize()
            return _handed_over(kept[0])

        return answer

    def _upload(self, pixels: torch.Tensor) -> None:
        size, slot = len(pixels), self._slots[0]
        self._slots.reverse()
        if slot.free is not None:
            slot.free.synchronize()
        slot.pinned[:size].copy_(pixels)
        self._uploads.run(lambda: _copy(slot.pinned[:size], slot.arrived[:size]))
        self.computing.wait(self._uploads.record())
        self.computing.run(lambda: _copy(slot.arrived[:size], self.input[:size]))
        slot.free = self.computing.record()


def _copy(source: torch.Tensor, target: torch.Tensor) -> None:
    target.copy_(source, non_blocking=True)


def _copies(outputs: Outputs) -> Outputs:
    logits, embedding, features = outputs
    answer = torch.empty(logits.shape, dtype=logits.dtype, pin_memory=logits.is_cuda)
    _copy(logits, answer)
    return Outputs(
        answer, None if embedding is None else embedding.clone(), None if features is None else features.clone()
    )


def _handed_over(outputs: Outputs) -> Outputs:
    """The copies were made on another stream: their memory must not be used again before the caller's is done."""
    for value in (outputs.embedding, outputs.features):
        if value is not None and value.is_cuda:
            value.record_stream(torch.cuda.current_stream(value.device))
    return outputs
