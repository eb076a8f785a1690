from __future__ import annotations

from typing import Any

import pytest

from swin_gateway.archive import Manifest
from swin_gateway.errors import InvalidRequest
from swin_gateway.options import EVERYTHING, MAX_TOP_K, Options

from .samples import HEADLESS, archive_of


def model(**changes: Any) -> Manifest:
    return archive_of(**changes).manifest


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(top_k=1, min_score=1.0),
        Options(top_k=MAX_TOP_K),
        Options(embedding=True),
        Options(top_k=0, embedding=True),
        Options(class_activation_map=True),
        Options(embedding=True, class_activation_map=True),
    ],
)
def test_what_a_model_can_give_is_asked_of_it_as_it_is(options: Options) -> None:
    assert options.for_model(model()) == options


@pytest.mark.parametrize(
    ("options", "changes", "said"),
    [
        (Options(top_k=-1), {}, "top_k is -1, must be from 0 to 1000"),
        (Options(top_k=1001), {}, "top_k is 1001"),
        (Options(min_score=float("nan")), {}, "min_score is nan"),
        (Options(top_k=0), {}, "asks for nothing"),
        (Options(top_k=0, min_score=0.5), {}, "asks for nothing"),
        (Options(top_k=0, class_activation_map=True), {}, "maps of no class"),
        (Options(top_k=0, class_activation_map=True, embedding=True), {}, "maps of no class"),
        (Options(embedding=True), {"embedding_size": 0}, r"digits@1\.0 has no embedding to give: nothing is pooled"),
        (Options(top_k=0, embedding=True), {"embedding_size": 0}, "has no embedding to give"),
        (
            Options(class_activation_map=True),
            {"activation_map": None},
            r"digits@1\.0 has no class activation map to give: its class logits are not the mean",
        ),
        (Options(class_activation_map=True), HEADLESS, r"no class activation map to give: it has no classes"),
        (Options(top_k=1001), HEADLESS, "top_k is 1001"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_the_reason(
    options: Options, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said) as refusal:
        options.for_model(model(**changes))
    assert (type(refusal.value), refusal.value.http) == (InvalidRequest, 400)


@pytest.mark.parametrize(
    "options", [Options(), Options(top_k=0), Options(embedding=True), Options(top_k=9, min_score=0.5)]
)
def test_a_model_without_classes_is_asked_for_its_embedding_alone(options: Options) -> None:
    assert options.for_model(model(**HEADLESS)) == Options(top_k=0, min_score=0.0, embedding=True)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (Options(), 0),
        (Options(embedding=True), 4 * 4),
        (Options(top_k=2, class_activation_map=True), 4 * 2 * 6),
        (EVERYTHING, 4 * (3 * 6 + 4)),  # there are only three classes
    ],
)
def test_the_size_of_an_answer_is_known_before_it_is_computed(options: Options, size: int) -> None:
    assert options.answer_bytes(model()) == size


def test_a_model_that_gives_no_numbers_answers_with_none() -> None:
    assert EVERYTHING.answer_bytes(model(embedding_size=0, activation_map=None)) == 0
