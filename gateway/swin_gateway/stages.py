"""Where an image's time went: the worker's answer and our own clock -> seconds of each stage, and its spans.

Gateway and worker read the same CLOCK_MONOTONIC, so the handler's entry fits into our own times.
"""

from __future__ import annotations

import time

from swin_gateway.tracing import Trace
from swin_proto.v1.classifier_pb2 import Timing
from swin_proto.worker.v1.job_pb2 import Answer


def timing_of(answer: Answer, entered: float, dispatched: float) -> Timing:
    return Timing(
        queue=dispatched - entered,
        batch_wait=answer.entered_at - dispatched,
        decode=answer.decode_seconds,
        inference=answer.inference_seconds,
    )


def seconds(timing: Timing) -> dict[str, float]:
    """By stage, in the order in which an image passes them."""
    return {
        "queue": timing.queue,
        "batch_wait": timing.batch_wait,
        "decode": timing.decode,
        "inference": timing.inference,
    }


def trace(call: Trace, answer: Answer | None, entered: float, dispatched: float | None) -> None:
    """The spans of one image, as far as it came."""
    now = time.monotonic()
    if dispatched is None:
        call.stages(entered, {"queue": now})
    elif answer is None:
        call.stages(entered, {"queue": dispatched, "batch wait": now})
    else:
        decoded = answer.entered_at + answer.decode_seconds
        ends = {"queue": dispatched, "batch wait": answer.entered_at, "decode": decoded}
        ends["inference"] = decoded + answer.inference_seconds
        call.stages(entered, ends, batch_size=answer.batch_size, padded_size=answer.padded_size)
