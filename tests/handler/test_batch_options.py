"""Who asks for embeddings or maps gets them; nobody else pays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from swin_handler.batch import Facts, Pipeline
from swin_handler.errors import InternalFailure, Undecodable
from swin_handler.outputs import Outputs
from swin_handler.result import ActivationMaps
from tests.handler.fake_engine import REGION, FakeEngine, classes, decode, request


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def test_an_embedding_that_is_not_finite_is_no_answer_to_who_asked(pool: ThreadPoolExecutor) -> None:
    class Broken(FakeEngine):
        def run(self, pixels: torch.Tensor) -> Outputs:
            outputs = super().run(pixels)
            return outputs._replace(embedding=outputs.embedding * float("inf"))

    asked = [request(b"\1", embedding=True), request(b"\2")]
    assert classes(Pipeline(decode, Broken(2), pool).classify(asked, Facts(0.0))) == [[InternalFailure], [2]]


def test_no_predictions_are_given_when_none_are_wanted(pool: ThreadPoolExecutor) -> None:
    [[found]] = Pipeline(decode, FakeEngine(1), pool).classify([request(b"\3", top_k=0, embedding=True)], Facts(0.0))
    assert (found.indices, found.scores) == ((), ())
    assert found.embedding.tolist() == [3, 3, 3]


def test_only_the_rows_that_ask_get_embeddings_and_maps(pool: ThreadPoolExecutor) -> None:
    engine = FakeEngine(1, 2, 4)
    asked = [
        request(b"\1", b"\2"),
        request(b"\3", b"bad", embedding=True),
        request(b"\4", top_k=2, class_activation_map=True),
    ]
    [[first, second], [third, bad], [fourth]] = Pipeline(decode, engine, pool).classify(asked, Facts(0.0))
    assert engine.sizes == [4]
    assert isinstance(bad, Undecodable)
    assert [found.embedding is None for found in (first, second, third, fourth)] == [True, True, False, True]
    assert [found.activation_maps is None for found in (first, second, third, fourth)] == [True, True, True, False]
    assert third.embedding.dtype == torch.float32
    assert third.embedding.tolist() == [3, 3, 3]
    maps = fourth.activation_maps
    assert maps.region == REGION
    assert maps.maps.shape == (2, 2, 4)
    assert maps.maps.mean(dim=(1, 2)).tolist() == [4 + index for index in fourth.indices]


class Untouchable(torch.Tensor):
    """On the device as long as nobody asks: reading it is an error."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        raise AssertionError(f"moved though nobody asked: {function}")


def test_nothing_but_the_logits_leaves_the_device_when_nobody_asks(pool: ThreadPoolExecutor) -> None:
    class OnTheDevice(FakeEngine):
        def run(self, pixels: torch.Tensor) -> Outputs:
            there = torch.zeros(1).as_subclass(Untouchable)
            return super().run(pixels)._replace(embedding=there, features=there)

    pipeline = Pipeline(decode, OnTheDevice(1, 2), pool)
    assert classes(pipeline.classify([request(b"\1", b"\2")], Facts(0.0))) == [[1, 2]]
    [[refused]] = pipeline.classify([request(b"\1", embedding=True)], Facts(0.0))
    assert isinstance(refused, InternalFailure)  # so the tensor does tell


def test_maps_follow_the_predictions_that_min_score_leaves(pool: ThreadPoolExecutor) -> None:
    pipeline = Pipeline(decode, FakeEngine(1), pool)
    [[one]] = pipeline.classify([request(b"\3", top_k=4, min_score=0.5, class_activation_map=True)], Facts(0.0))
    assert len(one.activation_maps.maps) == len(one.indices) == 1


class Headless(FakeEngine):
    def run(self, pixels: torch.Tensor) -> Outputs:
        outputs = super().run(pixels)
        return Outputs(outputs.logits[:, :0], outputs.embedding, None)


def test_a_model_without_a_head_gives_its_embedding_unasked(pool: ThreadPoolExecutor) -> None:
    asked = [request(b"\1", top_k=5, min_score=0.9), request(b"\2", top_k=0, embedding=True)]
    [[first], [second]] = Pipeline(decode, Headless(2), pool).classify(asked, Facts(0.0))
    assert (first.indices, first.scores, first.embedding.tolist()) == ((), (), [1, 1, 1])
    assert second.embedding.tolist() == [2, 2, 2]


def test_running_out_of_memory_over_an_embedding_splits_the_batch_too(pool: ThreadPoolExecutor) -> None:
    class Tight(FakeEngine):
        def activation_maps(self, features: torch.Tensor, classes: Sequence[int]) -> torch.Tensor:
            if self.sizes == [2]:
                raise torch.OutOfMemoryError
            return super().activation_maps(features, classes)

    engine = Tight(1, 2)
    asked = [request(b"\1", class_activation_map=True), request(b"\2")]
    [[first], [second]] = Pipeline(decode, engine, pool).classify(asked, Facts(0.0))
    assert engine.sizes == [2, 1, 1]
    assert isinstance(first.activation_maps, ActivationMaps)
    assert second.indices == (2,)
