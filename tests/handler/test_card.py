from __future__ import annotations

from dataclasses import replace

import pytest

from swin_handler.build import weights
from swin_handler.build.card import card
from swin_handler.build.classifier import Changes


def test_the_built_in_model_s_card_tells_all() -> None:
    assert card(weights.load("swin_digits")) == {
        "preprocessing": "short side to 32 (bicubic), middle 32×32; mean 0.5 0.5 0.5, std 0.5 0.5 0.5",
        "accuracy": "99.56 % of 450 held-out digits",
        "licence": "apache-2.0",
    }


@pytest.mark.parametrize("source", ["file mine.safetensors", "random"])
def test_what_is_known_of_published_weights_is_not_said_of_others(source: str) -> None:
    told = card(replace(weights.load("swin_digits"), source=source))
    assert (told["accuracy"], told["licence"]) == ("", "")


def test_a_model_without_its_head_has_no_top_1() -> None:
    assert card(weights.load("swin_digits", changes=Changes(headless=True)))["accuracy"] == ""
