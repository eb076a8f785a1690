"""Client.models and Client.model, over both protocols."""

import pytest

from swinserve import BackendTiming, Client, InvalidRequest, Model, NotFound

from .conftest import Service
from .contract import MODEL

TIMINGS = tuple(BackendTiming(**timing) for timing in MODEL["backend_timings"])
LISTS = {key: tuple(value) for key, value in MODEL.items() if isinstance(value, list)}
DESCRIBED = Model(**MODEL | LISTS | {"backend_timings": TIMINGS})


def test_models_lists_what_is_served(client: Client) -> None:
    assert client.models(timeout=2.0) == [DESCRIBED]


def test_model_describes_one_version(client: Client, service: Service) -> None:
    assert client.model("swin_digits") == DESCRIBED
    assert client.model("swin_digits", "2").version == "2"
    assert [asked.version for asked in service.seen] == ["", "2"]


def test_a_timing_is_also_a_rate(client: Client) -> None:
    rates = [timing.images_per_second for timing in client.model("swin_digits").backend_timings]
    assert rates == pytest.approx([125, 100, 100])


def test_a_model_that_is_not_served_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound) as caught:
        client.model("no such/model")
    assert caught.value.reason == "MODEL_NOT_FOUND"
    assert caught.value.request_id


def test_a_model_without_a_name_is_refused_here(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="model's name"):
        client.model("")
