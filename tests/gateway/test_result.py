from __future__ import annotations

import re
from typing import Any

import pytest

from swin_gateway.model import ServedModel
from swin_gateway.result import misfit, read_result
from swin_proto import CONTRACT_VERSION
from swin_proto.v1.classifier_pb2 import Region, Tensor
from swin_proto.worker.v1.job_pb2 import ActivationMaps, Error, Job, Result, TopK

from .assembly import EMBEDDING, MAPS, PNG, REGION, answer_to, error_to, floats, gateway, result_to
from .samples import HEADLESS, archive_of

JOB = Job(contract_version=CONTRACT_VERSION, images=[PNG], top_k=5, embedding=True, class_activation_map=True)
PLAIN = Job(contract_version=CONTRACT_VERSION, images=[PNG], top_k=5)
MANIFEST = archive_of().manifest


def maps(**changes: Any) -> dict[str, ActivationMaps]:
    facts: dict[str, Any] = {"height": 2, "width": 3, "data": bytes(48), **REGION}
    return {"activation_maps": ActivationMaps(**(facts | changes))}


@pytest.fixture
async def model() -> ServedModel:
    return gateway().model


@pytest.mark.parametrize("job", [JOB, PLAIN, Job(images=[PNG], top_k=0, embedding=True)])
def test_what_was_asked_for_fits(job: Job) -> None:
    assert misfit(answer_to(job), job, MANIFEST) == ""


def test_an_error_fits_whatever_was_asked_for() -> None:
    assert misfit(error_to(JOB, Error.UNDECODABLE), JOB, MANIFEST) == ""


def test_no_prediction_above_min_score_fits_without_maps_data() -> None:
    answer = answer_to(JOB, results=[result_to(JOB, top_k=TopK(), **maps(data=b""))])
    assert misfit(answer, JOB, MANIFEST) == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"top_k": TopK(indices=[2, 0], scores=[0.5])}, "scores: 1, not 2"),
        ({"top_k": TopK(indices=[2, 3], scores=[0.5, 0.1])}, "classes: 2 of 5, up to 3 in 3"),
        ({"top_k": TopK(indices=[0] * 6, scores=[0.5] * 6)}, "classes: 6 of 5"),
        ({"embedding": b""}, "bytes of the embedding: 0, not 16"),
        ({"embedding": floats(1.0, 2.0, 3.0)}, "bytes of the embedding: 12, not 16"),
        ({"embedding": bytes(17)}, "bytes of the embedding: 17, not 16"),
        ({"activation_maps": None}, r"shape of the maps: \(0, 0\), not \(2, 3\)"),
        (maps(height=3, width=2), r"shape of the maps: \(3, 2\), not \(2, 3\)"),
        (maps(data=bytes(24)), "bytes of the maps: 24, not 48"),
        (maps(data=bytes(47)), "bytes of the maps: 47, not 48"),
        (maps(left=1.0, right=1.0), "region"),
        (maps(top=1.0, bottom=0.0), "region"),
        (maps(left=float("nan")), "region"),
    ],
)
def test_a_result_that_does_not_fit_the_manifest_is_named(changes: dict[str, Any], said: str) -> None:
    answer = answer_to(JOB, results=[result_to(JOB, **changes)])
    assert re.search(said, misfit(answer, JOB, MANIFEST))


@pytest.mark.parametrize("changes", [{"embedding": floats(*EMBEDDING)}, maps(data=bytes(48))])
def test_what_was_not_asked_for_does_not_fit(changes: dict[str, Any]) -> None:
    assert misfit(answer_to(PLAIN, results=[result_to(PLAIN, **changes)]), PLAIN, MANIFEST)


def test_a_model_without_classes_has_none_to_answer() -> None:
    manifest = archive_of(**HEADLESS).manifest
    job = Job(images=[PNG], top_k=0, embedding=True)
    assert misfit(answer_to(job), job, manifest) == ""
    wrong = answer_to(job, results=[result_to(job, top_k=TopK(indices=[0], scores=[1.0]))])
    assert misfit(wrong, job, manifest)


async def test_each_class_gets_its_own_map_and_the_image_its_embedding(model: ServedModel) -> None:
    (result,) = answer_to(JOB).results
    answer = read_result(result, JOB, model).predictions
    assert answer.embedding == Tensor(shape=[4], data=floats(*EMBEDDING))
    for prediction, rows in zip(answer.predictions, MAPS, strict=True):
        data = floats(*(number for row in rows for number in row))
        assert prediction.class_activation_map == Tensor(shape=[2, 3], data=data)
    assert answer.map_region == Region(**REGION)


async def test_what_was_not_asked_for_is_absent(model: ServedModel) -> None:
    (result,) = answer_to(PLAIN).results
    answer = read_result(result, PLAIN, model).predictions
    assert len(answer.predictions) == 2
    assert not answer.HasField("embedding")
    assert not answer.HasField("map_region")
    assert not any(each.HasField("class_activation_map") for each in answer.predictions)


async def test_an_embedding_alone_is_an_outcome_without_predictions(model: ServedModel) -> None:
    job = Job(images=[PNG], top_k=0, embedding=True)
    image = read_result(answer_to(job).results[0], job, model)
    assert image.WhichOneof("outcome") == "predictions"
    assert not image.predictions.predictions
    assert image.predictions.HasField("embedding")


async def test_no_class_above_min_score_is_an_outcome_with_the_region_of_no_map(model: ServedModel) -> None:
    result = Result(top_k=TopK(), embedding=floats(*EMBEDDING), **maps(data=b""))
    image = read_result(result, JOB, model)
    assert image.WhichOneof("outcome") == "predictions"
    assert image.predictions.HasField("map_region")
