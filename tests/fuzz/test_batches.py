"""No image changes the answer of another in its batch, whatever it is: compared byte for byte."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import strategies as st

from swin_handler import engine, job
from swin_handler.batch import Facts, Pipeline
from swin_handler.decode import Decoder
from swin_handler.request import Request
from tests.fuzz import decoding, seeds
from tests.fuzz.tally import SECONDS, Tally, for_seconds
from tests.handler import pictures, small_models
from tests.handler.small_models import MAPPED

GOOD = (pictures.jpeg(), pictures.jpeg(200, 100), pictures.encoded(pictures.noise(), "PNG"))
BATCH = 8


class Worker:
    """The pipeline of a real small Swin, with one batch bucket: batches of any size run the same kernels."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        arguments, size = MAPPED["swin_tiny_patch4_window7_224"][:2]
        loaded = small_models.loaded(small_models.classifier("swin_tiny_patch4_window7_224", arguments), size)
        self._engine = engine.build(
            loaded, device=torch.device("cpu"), dtype="float32", buckets=(BATCH,), backend="eager"
        )
        decoder = Decoder(loaded.data_config, max_pixels=decoding.MAX_PIXELS, limits=decoding.LIMITS)
        self._pipeline = Pipeline(decoder, self._engine, pool)

    def answers(self, images: list[bytes]) -> list[bytes]:
        """As they go over the wire, one request an image, as from as many callers."""
        requests = [Request((image,), top_k=3, embedding=True, class_activation_map=True) for image in images]
        results = self._pipeline.classify(requests, Facts(0.0))
        return [job.encode(result, Facts(0.0), self._engine, compiles=0) for result in results]


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with ThreadPoolExecutor(2) as pool:
        yield Worker(pool)


def test_bad_neighbours_leave_good_answers_byte_for_byte_as_they_are(worker: Worker) -> None:
    tally = Tally("neighbours")
    expected = {image: worker.answers([image, *[GOOD[0]] * (BATCH - 1)])[0] for image in GOOD}

    def check(drawn: tuple[list[bytes], int]) -> None:
        neighbours, first = drawn[0], min(drawn[1], len(drawn[0]))
        images = [*neighbours[:first], *GOOD, *neighbours[first:]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answers = worker.answers(images)
        for image, answer in zip(GOOD, answers[first : first + len(GOOD)], strict=True):
            assert answer == expected[image]
        for _ in neighbours:
            tally.add("spared")

    for_seconds(SECONDS, st.tuples(st.lists(seeds.damaged(), max_size=BATCH - len(GOOD)), st.integers(0, 5)), check)
    tally.report()


def test_the_answers_compared_do_differ_between_images(worker: Worker) -> None:
    assert len(set(worker.answers(list(GOOD)))) == len(GOOD)
