"""Embeddings and class activation maps, from the job to the answer."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms import Normalize

from swin_handler import engine, model, service
from swin_handler.batch import Pipeline
from swin_handler.config import Abilities
from swin_handler.decode import Decoder
from swin_proto.worker.v1 import job_pb2
from tests.handler import small_models
from tests.handler.small_models import MAPPED, UNMAPPED
from tests.handler.test_service import GOOD, OTHER, answers, job_row, results
from tests.handler.torchserve_context import REST, TorchServeContext


@pytest.fixture(scope="module")
def loaded(unpacked: Path, settings: dict[str, Any]) -> service.Service:
    # One bucket, so that a batch of any size runs the very same kernels.
    settings = {**settings, "handler": {**settings["handler"], "batch_buckets": [8], "backend": "eager"}}
    return service.Service.load(unpacked, settings, gpu=None)


def floats(data: bytes, *shape: int) -> np.ndarray:
    return np.frombuffer(data, "<f4").reshape(shape)


def serving(name: str, num_classes: int = 6) -> tuple[service.Service, model.LoadedModel]:
    """A worker of one of small_models', built without an archive."""
    arguments, size = {**MAPPED, **UNMAPPED}[name][:2]
    loaded = small_models.loaded(small_models.classifier(name, arguments, num_classes), size)
    made = engine.build(loaded, device=torch.device("cpu"), dtype="float32", buckets=(4,), backend="eager")
    pipeline = Pipeline(Decoder(loaded.data_config, max_pixels=10**6), made, ThreadPoolExecutor(2))
    return service.Service(pipeline, loaded, made), loaded


def test_a_job_gets_what_it_asks_for_and_nothing_else(loaded: service.Service, context: TorchServeContext) -> None:
    rows = [
        job_row(GOOD),
        job_row(GOOD, b"hello", embedding=True),
        job_row(OTHER, top_k=2, class_activation_map=True),
        job_row(GOOD, top_k=0, embedding=True),
    ]
    plain, embedded, mapped, alone = answers(loaded, rows, context)
    assert plain.batch_size == 4
    assert not plain.results[0].embedding
    assert not plain.results[0].HasField("activation_maps")
    assert embedded.results[0].top_k == plain.results[0].top_k
    assert floats(embedded.results[0].embedding, 48).std() > 0
    assert embedded.results[1].error.kind == job_pb2.Error.UNSUPPORTED_TYPE
    assert not mapped.results[0].embedding
    assert not alone.results[0].top_k.indices
    assert alone.results[0].WhichOneof("outcome") == "top_k"
    assert alone.results[0].embedding == embedded.results[0].embedding


def test_the_means_of_the_maps_are_the_logits_behind_the_scores(
    loaded: service.Service, context: TorchServeContext
) -> None:
    [answer] = answers(loaded, [job_row(OTHER, top_k=5, class_activation_map=True)], context)
    maps, scores = answer.results[0].activation_maps, answer.results[0].top_k.scores
    logits = floats(maps.data, 5, maps.height, maps.width).mean(axis=(1, 2))
    assert (maps.height, maps.width) == (8, 8)
    assert np.log(scores[0]) - np.log(scores) == pytest.approx(logits[0] - logits, abs=1e-4)
    # OTHER is 200×100: of its width the middle half less the crop's margin is seen.
    assert (maps.left, maps.right) == pytest.approx((0.275, 0.725), abs=0.01)
    assert (maps.top, maps.bottom) == pytest.approx((0.05, 0.95), abs=0.01)


def test_asking_and_not_asking_mix_in_one_batch_without_a_change(
    loaded: service.Service, context: TorchServeContext
) -> None:
    asked = {"embedding": True, "class_activation_map": True}
    [solo] = answers(loaded, [job_row(GOOD, **asked)], context)
    _plain, mixed, _bad = answers(loaded, [job_row(OTHER), job_row(GOOD, **asked), job_row(b"x", **asked)], context)
    assert results(mixed) == results(solo)


@pytest.mark.parametrize("name", ["convnext_atto", "vit_tiny_patch16_224"])
def test_a_map_that_the_model_cannot_give_is_refused_and_spares_the_batch(
    context: TorchServeContext, name: str
) -> None:
    unmapped, _ = serving(name)
    rows = [job_row(GOOD, GOOD, class_activation_map=True), job_row(GOOD, embedding=True)]
    refused, good = answers(unmapped, rows, context)
    assert [result.error.kind for result in refused.results] == [job_pb2.Error.BAD_JOB] * 2
    assert "no class activation map" in refused.results[0].error.message
    assert good.results[0].embedding


def test_an_embedding_that_the_model_cannot_give_is_refused(
    context: TorchServeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_models, "abilities", lambda *_given: Abilities())
    plain, _ = serving("resnet18")
    refused, good = answers(plain, [job_row(GOOD, embedding=True), job_row(GOOD)], context)
    assert refused.results[0].error.kind == job_pb2.Error.BAD_JOB
    assert "no embedding" in refused.results[0].error.message
    assert len(good.results[0].top_k.indices) == 3


def test_a_model_without_a_head_answers_with_embeddings_on_both_paths(
    context: TorchServeContext, unpacked: Path, settings: dict[str, Any]
) -> None:
    headless, held = serving("resnet18", num_classes=0)
    rest = TorchServeContext(unpacked, settings, REST)
    refused, asked, unasked = answers(
        headless,
        [job_row(GOOD, class_activation_map=True), job_row(GOOD, top_k=0, embedding=True), job_row(GOOD)],
        context,
    )
    assert refused.results[0].error.kind == job_pb2.Error.BAD_JOB
    assert results(asked) == results(unasked)
    assert not unasked.results[0].top_k.indices
    pixels = Decoder(held.data_config, max_pixels=10**6)(GOOD).pixels
    x = Normalize(held.data_config["mean"], held.data_config["std"])(pixels.permute(2, 0, 1) / 255)
    with torch.inference_mode():
        expected = held.module(x[None])[0]
    assert floats(unasked.results[0].embedding, 512) == pytest.approx(expected.numpy(), abs=1e-5)
    [raw_answer] = headless.handle([{"body": GOOD, "top_k": b"3"}], rest)
    assert json.loads(raw_answer) == pytest.approx(expected.tolist(), abs=1e-5)
    assert rest.statuses == {}
