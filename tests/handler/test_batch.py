from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from swin_handler.batch import Facts, Pipeline
from swin_handler.decode import Decoded
from swin_handler.errors import Expired, InternalFailure, OutOfMemory, Undecodable
from swin_handler.forward_pass import STICKY_EXIT
from swin_handler.outputs import Outputs
from swin_handler.result import Predictions
from tests.handler.fake_engine import FakeEngine, classes, decode, request


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def test_every_image_gets_its_own_result_in_order(pool: ThreadPoolExecutor) -> None:
    facts = Facts(0.0)
    pipeline = Pipeline(decode, FakeEngine(1, 2, 4), pool)
    results = pipeline.classify(
        [request(b"\1", b"\2"), request(), request(b"bad"), request(b"\3", b"bug", b"\4")], facts
    )
    assert classes(results) == [[1, 2], [], [Undecodable], [3, InternalFailure, 4]]
    assert (facts.batch_size, facts.padded_size) == (4, 4)
    assert facts.decode_seconds > 0
    assert facts.inference_seconds > 0


def test_a_bug_in_decoding_is_logged_with_its_traceback(
    pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    Pipeline(decode, FakeEngine(1), pool).classify([request(b"bug")], Facts(0.0))
    assert "ZeroDivisionError" in caplog.text


def test_a_batch_is_run_in_chunks_of_the_largest_bucket(pool: ThreadPoolExecutor) -> None:
    engine, facts = FakeEngine(1, 2, 4), Facts(0.0)
    Pipeline(decode, engine, pool).classify([request(*(bytes([i % 10]) for i in range(11)))], facts)
    assert engine.sizes == [4, 4, 3]
    assert (facts.batch_size, facts.padded_size) == (11, 12)


def test_an_expired_image_is_never_decoded(pool: ThreadPoolExecutor) -> None:
    seen: list[bytes] = []

    def recording(data: bytes, until: float | None) -> Decoded:
        seen.append(data)
        return decode(data)

    now = time.monotonic()
    late, early = request(b"\1", expires_at=now - 0.001), request(b"\2", expires_at=now + 60)
    engine = FakeEngine(1, 2)
    results = Pipeline(recording, engine, pool).classify([late, early], Facts(0.0))
    assert classes(results) == [[Expired], [2]]
    assert seen == [b"\2"]
    assert engine.sizes == [1]


def test_the_largest_images_are_decoded_first_and_answered_in_their_place() -> None:
    """Or the last thread ends alone with a large one."""
    begun: list[bytes] = []

    def recording(data: bytes, until: float | None) -> Decoded:
        begun.append(data)
        return decode(data)

    requests = [request(b"\1", b"\2" * 30), request(b"\3" * 200), request(b"\4" * 30, b"\5")]
    with ThreadPoolExecutor(1) as one_thread:
        results = Pipeline(recording, FakeEngine(8), one_thread).classify(requests, Facts(0.0))
    assert [data[0] for data in begun] == [3, 2, 4, 1, 5]
    assert classes(results) == [[1, 2], [3], [4, 5]]


class Beside(FakeEngine):
    """Of a device beside the CPU: it fails, if it does, when its answer is waited for."""

    ahead = 2

    def start(self, pixels: torch.Tensor) -> Callable[[], Outputs]:
        return lambda: self.run(pixels)


def test_a_device_beside_the_cpu_computes_what_is_decoded_while_the_rest_is_decoded(pool: ThreadPoolExecutor) -> None:
    begun = threading.Event()

    class Seen(Beside):
        def start(self, pixels: torch.Tensor) -> Callable[[], Outputs]:
            begun.set()
            return super().start(pixels)

    def decoding(data: bytes, until: float | None) -> Decoded:
        if len(data) == 1:  # the smaller ones, decoded last
            assert begun.wait(10), "no forward pass was begun meanwhile"
        return decode(data)

    engine, facts = Seen(1, 2, 4), Facts(0.0)
    images = [b"\1", b"\2\2", b"bad", b"\3", b"\4\4", b"\5"]
    results = Pipeline(decoding, engine, pool).classify([request(*images[:4]), request(*images[4:])], facts)
    assert classes(results) == [[1, 2, Undecodable, 3], [4, 5]]
    assert sorted(engine.sizes) == [1, 2, 2]
    assert (facts.batch_size, facts.padded_size) == (5, 5)


def test_a_device_that_fails_when_it_is_waited_for_is_tried_in_halves_too(pool: ThreadPoolExecutor) -> None:
    def fail(pixels: torch.Tensor) -> None:
        if len(pixels) > 1:
            raise torch.OutOfMemoryError

    engine = Beside(1, 2, fail=fail)
    results = Pipeline(decode, engine, pool).classify([request(b"\1", b"\2", b"\3")], Facts(0.0))
    assert classes(results) == [[1, 2, 3]]
    assert sorted(engine.sizes) == [1, 1, 1, 2]


def test_a_batch_without_a_good_image_runs_no_forward_pass(pool: ThreadPoolExecutor) -> None:
    engine = FakeEngine(1)
    assert classes(Pipeline(decode, engine, pool).classify([request(b"bad")], Facts(0.0))) == [[Undecodable]]
    assert Pipeline(decode, engine, pool).classify([], Facts(0.0)) == []
    assert engine.sizes == []


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_out_of_memory_splits_the_batch_once_and_retries(pool: ThreadPoolExecutor, error: Exception) -> None:
    def fail(pixels: torch.Tensor) -> None:
        if len(pixels) > 2:
            raise error

    engine = FakeEngine(1, 2, 4, fail=fail)
    results = Pipeline(decode, engine, pool).classify([request(b"\1", b"\2", b"\3")], Facts(0.0))
    assert classes(results) == [[1, 2, 3]]
    assert engine.sizes == [3, 2, 1]


def test_images_whose_half_has_no_memory_either_say_so(pool: ThreadPoolExecutor) -> None:
    def fail(pixels: torch.Tensor) -> None:
        if (pixels == 1).any():
            raise torch.OutOfMemoryError

    engine = FakeEngine(1, 2, 4, fail=fail)
    results = Pipeline(decode, engine, pool).classify([request(b"\1", b"\2", b"\3", b"\4")], Facts(0.0))
    assert classes(results) == [[OutOfMemory, OutOfMemory, 3, 4]]
    assert engine.sizes == [4, 2, 2]


def test_one_image_alone_is_retried_and_then_refused(pool: ThreadPoolExecutor) -> None:
    def fail(_pixels: torch.Tensor) -> None:
        raise torch.OutOfMemoryError

    engine = FakeEngine(1, fail=fail)
    assert classes(Pipeline(decode, engine, pool).classify([request(b"\1")], Facts(0.0))) == [[OutOfMemory]]
    assert engine.sizes == [1, 1]


def test_a_bug_in_the_forward_pass_costs_its_chunk_only(
    pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(pixels: torch.Tensor) -> None:
        if (pixels == 1).any():
            raise ValueError("a bug")

    results = Pipeline(decode, FakeEngine(2, fail=fail), pool).classify([request(b"\1", b"\2", b"\3")], Facts(0.0))
    assert classes(results) == [[InternalFailure, InternalFailure, 3]]
    assert "a bug" in caplog.text


def test_logits_that_are_not_finite_are_no_answer(pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeEngine):
        def run(self, pixels: torch.Tensor) -> Outputs:
            outputs = super().run(pixels)
            outputs.logits[0, 3] = float("nan")
            return outputs

    with caplog.at_level(logging.ERROR):
        asked = request(b"\1", b"\2", class_activation_map=True)
        results = Pipeline(decode, Broken(2), pool).classify([asked], Facts(0.0))
    assert classes(results) == [[InternalFailure, 2]]


def test_top_k_and_min_score_bound_the_ranking(pool: ThreadPoolExecutor) -> None:
    pipeline = Pipeline(decode, FakeEngine(4), pool)
    [[all_of_them], [some], [none]] = pipeline.classify(
        [request(b"\3", top_k=10**6), request(b"\3", top_k=5, min_score=0.5), request(b"\3", min_score=1.0)], Facts(0.0)
    )
    assert isinstance(all_of_them, Predictions)
    assert len(all_of_them.indices) == 10
    assert all_of_them.indices[0] == 3
    assert list(all_of_them.scores) == sorted(all_of_them.scores, reverse=True)
    assert sum(all_of_them.scores) == pytest.approx(1)
    assert isinstance(some, Predictions)
    assert some.indices == (3,)
    assert none == Predictions((), ())


STICKY = [
    torch.AcceleratorError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`"),
    RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
]


@pytest.mark.parametrize("error", STICKY, ids=str)
def test_a_sticky_cuda_error_is_told_from_a_bug(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(_pixels: torch.Tensor) -> None:
        raise error

    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(SystemExit, match=str(STICKY_EXIT)):
        Pipeline(decode, FakeEngine(1, fail=fail), pool).classify([request(b"\1")], Facts(0.0))


def test_a_sticky_cuda_error_ends_the_process() -> None:
    code = """
import logging, sys, torch
from concurrent.futures import ThreadPoolExecutor
from swin_handler.batch import Facts, Pipeline
from tests.handler.fake_engine import FakeEngine, decode, request
logging.basicConfig(stream=sys.stdout)
def fail(_pixels):
    raise torch.AcceleratorError("CUDA error: device-side assert triggered")
try:
    Pipeline(decode, FakeEngine(1, fail=fail), ThreadPoolExecutor(1)).classify([request(b"1")], Facts(0.0))
finally:
    print("still here")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ended.returncode == STICKY_EXIT == 70
    assert "CUDA context lost" in ended.stdout
    assert "still here" not in ended.stdout


def test_an_image_that_there_is_no_memory_to_decode_spares_its_batch(pool: ThreadPoolExecutor) -> None:
    def failing(data: bytes, until: float | None) -> Decoded:
        if data == b"large":
            raise MemoryError
        return decode(data)

    results = Pipeline(failing, FakeEngine(2), pool).classify([request(b"\1", b"large", b"\2")], Facts(0.0))
    assert classes(results) == [[1, OutOfMemory, 2]]
