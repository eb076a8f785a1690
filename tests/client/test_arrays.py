"""Embeddings and class activation maps in the client, over both protocols."""

import copy
import pickle

import numpy as np
import pytest

from swinserve import Client, ImageResult, InternalError, Prediction, Region
from swinserve.arrays import array, listed

from .conftest import Service
from .contract import EMBEDDING, LARGE, MAPS, PREDICTIONS, REGION


def test_an_embedding_comes_beside_the_classes_when_asked_for(client: Client, service: Service) -> None:
    (result,) = client.classify(b"three", embedding=True).results
    assert (service.seen[0].embedding, service.seen[0].class_activation_map) == (True, False)
    assert result.embedding is not None
    assert (result.embedding.dtype, result.embedding.tolist()) == (np.float32, np.float32(EMBEDDING).tolist())
    assert [prediction.label for prediction in result.predictions] == ["three", "one"]
    assert result.map_region is None


def test_an_embedding_comes_instead_of_classes_with_a_top_k_of_0(client: Client, service: Service) -> None:
    answer = client.classify_many([b"a", b"bad UNDECODABLE", b"c"], embedding=True, top_k=0)
    assert service.seen[0].top_k == 0
    assert [result.embedding is None for result in answer.results] == [False, True, False]
    assert all(result.predictions == () for result in answer.results)


def test_each_prediction_has_its_map_and_the_image_the_region_it_covers(client: Client, service: Service) -> None:
    for answer in (
        client.classify(b"three", class_activation_map=True),
        client.classify_many([b"three"], class_activation_map=True),
    ):
        (result,) = answer.results
        assert result.map_region == Region(**REGION)
        for prediction in result.predictions:
            assert prediction.class_activation_map is not None
            assert prediction.class_activation_map.dtype == np.float32
            np.testing.assert_array_equal(
                prediction.class_activation_map, np.float32(MAPS[prediction.label]).reshape(2, 3)
            )
        assert result.embedding is None
    assert all(asked.class_activation_map and not asked.embedding for asked in service.seen)


def test_nothing_comes_unasked_but_from_a_model_without_classes(client: Client) -> None:
    (result,) = client.classify(b"three").results
    assert (result.embedding, result.map_region, result.predictions[0].class_activation_map) == (None, None, None)
    (result,) = client.classify(b"three", model="headless").results
    assert result.predictions == ()
    assert result.embedding is not None
    assert (result.embedding.dtype, result.embedding.tolist()) == (np.float32, np.float32(EMBEDDING).tolist())


def test_an_answer_beyond_grpcs_own_4_mib_arrives(client: Client) -> None:
    (result,) = client.classify(b"three", model="large", embedding=True).results
    assert result.embedding is not None
    assert result.embedding.shape == (LARGE,)


@pytest.mark.parametrize("asked", ["embedding", "class_activation_map"])
def test_what_was_asked_for_and_left_out_is_the_services_fault(client: Client, asked: str) -> None:
    with pytest.raises(InternalError, match=f"left out the {asked.replace('_', ' ')}"):
        client.classify(b"three", model="forgetful", **{asked: True})


@pytest.mark.parametrize("model", ["misshapen", "nowhere"])
def test_arrays_and_regions_that_are_none_are_the_services_fault(client: Client, model: str) -> None:
    with pytest.raises(InternalError, match="does not answer as Swinserve does") as caught:
        client.classify(b"three", model=model, embedding=True, class_activation_map=True, request_id="mine")
    assert caught.value.request_id == "mine"


def test_arrays_are_the_callers_own(client: Client) -> None:
    (result,) = client.classify(b"three", embedding=True).results
    embedding = result.embedding
    assert embedding is not None
    embedding /= np.linalg.norm(embedding)
    assert embedding @ embedding == pytest.approx(1)


def test_results_with_arrays_still_compare_hash_copy_and_print() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    one, other = (Prediction("three", 3, 0.75, class_activation_map) for class_activation_map in (values, None))
    assert one == other == Prediction(*PREDICTIONS[0])
    assert hash(one) == hash(other)
    assert ImageResult((one,), embedding=values[0]) == ImageResult((other,))
    copied = pickle.loads(pickle.dumps(copy.deepcopy(one)))
    np.testing.assert_array_equal(copied.class_activation_map, values)
    assert repr(one) == "Prediction(label='three', index=3, score=0.75)"


@pytest.mark.parametrize(("shape", "size"), [([2], 12), ([2, 2], 16), ([], 4), ([0], 0), ([-1], 8), ([2], 7)])
def test_a_shape_that_does_not_fit_is_refused(shape: list[int], size: int) -> None:
    with pytest.raises(ValueError, match=r".+"):
        array(shape, bytes(size), 1)


@pytest.mark.parametrize("values", [[], [[1.0]], [[1.0], [2.0, 3.0]], ["x"], [{}], [None, "x"]])
def test_lists_that_are_no_vector_are_refused(values: list[object]) -> None:
    with pytest.raises((ValueError, TypeError)):
        listed(values, 1)


@pytest.mark.parametrize(
    "sides", [(0.5, 0, 0.5, 1), (0, 1, 1, 0), (1, 0, 2, 1), (0, -1, 1, 0), (0, 0, float("nan"), 1), (0, 0, 9e999, 1)]
)
def test_a_region_that_is_none_is_refused(sides: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="no region of an image"):
        Region(*sides)
