"""Batches that overlap on the way through a device, on streams that are as late as they may be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from swin_handler.engine.cuda_graph import CapturedForward
from swin_handler.engine.in_flight import InFlight
from swin_handler.outputs import Outputs
from tests.handler.engine.lazy_stream import LazyStream

CPU = torch.device("cpu")
SHAPE = torch.Size((4, 2, 2, 3))


def in_flight() -> InFlight:
    return InFlight(SHAPE, CPU, uploads=LazyStream(), computing=LazyStream())


def sums(shared: InFlight, bucket: int, *, failures: int = 0) -> CapturedForward:
    """What a graph is to its caller: a replay that reads fixed memory and writes fixed memory."""
    outputs = Outputs(torch.zeros(bucket, 1), torch.zeros(bucket, 3), torch.zeros(bucket, 2, 2, 3))
    left = [failures]

    def replay() -> None:
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        numbers = shared.input[:bucket].float()
        for output, values in zip(
            outputs, (numbers.sum(dim=(1, 2, 3))[:, None], numbers.sum(dim=(1, 2)), numbers), strict=True
        ):
            output.copy_(values)

    return CapturedForward(bucket, lambda pixels: outputs, replay, outputs, shared)


def batch(value: int, size: int = 4) -> torch.Tensor:
    return torch.full((size, *SHAPE[1:]), value, dtype=torch.uint8)


def value_of(outputs: Outputs) -> float:
    """The number that filled the batch, once all of its outputs agree on it."""
    values = {float(part.flatten()[0]) / per for part, per in zip(outputs, (12, 4, 1), strict=True)}
    assert len(values) == 1
    assert all(bool((part == part.flatten()[0]).all()) for part in outputs)
    return values.pop()


def test_a_call_waits_for_its_own_answer() -> None:
    forward = sums(in_flight(), 4)
    assert [value_of(forward(batch(value))) for value in (1, 2, 3)] == [1, 2, 3]


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 4, 1, 3)])
def test_batches_in_flight_do_not_mix_in_whatever_order_they_are_asked_for(order: tuple[int, ...]) -> None:
    forward = sums(in_flight(), 4)
    pixels = batch(0)
    started: list[Callable[[], Outputs]] = []
    for value in range(5):
        pixels.fill_(value)  # the caller may use its memory again at once
        started.append(forward.start(pixels))
    assert [value_of(started[index]()) for index in order] == list(order)


def test_answers_outlive_later_batches() -> None:
    forward = sums(in_flight(), 4)
    first = forward(batch(1))
    forward(batch(2))
    assert value_of(first) == 1


def test_buckets_that_share_memory_do_not_mix() -> None:
    shared = in_flight()
    small, large = sums(shared, 1), sums(shared, 4)
    started = [large.start(batch(1)), small.start(batch(2, 1)), large.start(batch(3)), small.start(batch(4, 1))]
    assert [value_of(answer()) for answer in started] == [1, 2, 3, 4]


def test_out_of_memory_comes_out_as_it_is_and_the_next_batch_is_answered() -> None:
    forward = sums(in_flight(), 4, failures=1)
    with pytest.raises(torch.OutOfMemoryError):
        forward(batch(1))
    assert [value_of(forward(batch(value))) for value in (2, 3, 4)] == [2, 3, 4]


def test_the_upload_of_a_batch_does_not_wait_for_the_one_before() -> None:
    uploads, computing = LazyStream(), LazyStream()
    shared = InFlight(SHAPE, CPU, uploads=uploads, computing=computing)
    forward = sums(shared, 4)
    first = forward.start(batch(1))
    forward.start(batch(2))
    uploads.record().synchronize()  # both uploads, and nothing of what is computed
    assert float(shared.input.sum()) == 0
    assert value_of(first()) == 1
