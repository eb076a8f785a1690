from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.data import create_transform

from swin_handler import engine, model
from swin_handler.config import Abilities, HandlerConfig, Manifest
from swin_handler.outputs import Outputs, joined
from tests.handler import pictures, small_models
from tests.handler.test_abilities import NoHalves

CPU = torch.device("cpu")


@pytest.fixture
def loaded(unpacked: Path, manifest: Manifest) -> model.LoadedModel:
    return model.load(unpacked, manifest)


def noise(size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (size, 64, 64, 3), dtype=torch.uint8, generator=generator)


def test_logits_equal_timms_own_on_the_same_picture(loaded: model.LoadedModel) -> None:
    image = pictures.gradient()
    with torch.inference_mode():
        expected = loaded.module(create_transform(**loaded.data_config)(image)[None])
    pixels = create_transform(**loaded.data_config, normalize=False)(image).permute(1, 2, 0)[None]
    answer = engine.create(loaded, HandlerConfig(batch_buckets=(1,)), device=CPU).run(pixels).logits
    assert answer.dtype == torch.float32
    assert torch.equal(answer, expected)


def test_padding_does_not_change_answers(loaded: model.LoadedModel) -> None:
    made = engine.create(loaded, HandlerConfig(batch_buckets=(4,)), device=CPU)
    pixels = noise(4)
    full = made.run(pixels)
    for size in (1, 2, 3):
        assert all(map(torch.equal, made.run(pixels[:size]), full.first(size)))


def test_more_than_the_largest_bucket_is_split(loaded: model.LoadedModel) -> None:
    made = engine.create(loaded, HandlerConfig(batch_buckets=(1, 2, 4)), device=CPU)
    assert [made.bucket(size) for size in (1, 2, 3, 4)] == [1, 2, 4, 4]
    pixels = noise(9)
    together, alone = made.run(pixels), joined([made.run(pixels[i : i + 1]) for i in range(9)])
    assert [values.shape for values in together] == [(9, 5), (9, 48), (9, 8, 8, 48)]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def batches_seen(loaded: model.LoadedModel) -> list[int]:
    """Grows with every forward pass."""
    seen: list[int] = []
    loaded.module.patch_embed.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    return seen


def test_every_bucket_is_run_before_the_engine_is_handed_out(loaded: model.LoadedModel) -> None:
    seen = batches_seen(loaded)
    engine.create(loaded, HandlerConfig(batch_buckets=(1, 2, 4)), device=CPU)
    assert seen == [1, 2, 4]


def test_logits_embedding_and_features_come_of_one_forward_pass(loaded: model.LoadedModel) -> None:
    made = engine.create(loaded, HandlerConfig(batch_buckets=(2,)), device=CPU)
    seen = batches_seen(loaded)
    outputs = made.run(noise(2))
    made.activation_maps(outputs.features[0], [1, 4])
    assert seen == [2]


def test_bfloat16_stays_close_to_float32(loaded: model.LoadedModel) -> None:
    exact = engine.create(loaded, HandlerConfig(batch_buckets=(4,)), device=CPU).run(noise(4))
    made = engine.create(loaded, HandlerConfig(batch_buckets=(4,), dtype="bfloat16"), device=CPU)
    rounded = made.run(noise(4))
    assert (made.dtype, made.backend) == ("bfloat16", "eager")
    assert (rounded.logits.dtype, rounded.embedding.dtype) == (torch.float32, torch.bfloat16)
    for one, other in zip(rounded, exact, strict=True):
        assert float((one - other).norm() / other.norm()) < 2e-2


def without_a_head(loaded: model.LoadedModel) -> model.LoadedModel:
    loaded.module.reset_classifier(0)
    return replace(loaded, labels=(), abilities=Abilities(48))


def test_a_model_without_a_head_gives_embeddings_alone(loaded: model.LoadedModel) -> None:
    config = HandlerConfig(batch_buckets=(2,))
    expected = engine.create(loaded, config, device=CPU).run(noise(3)).embedding
    outputs = engine.create(without_a_head(loaded), config, device=CPU).run(noise(3))
    assert outputs.logits.shape == (3, 0)
    assert torch.equal(outputs.embedding, expected)
    assert outputs.features is None


def test_a_model_whose_head_cannot_be_split_off_gives_logits_alone() -> None:
    module = NoHalves().eval()
    made = engine.create(small_models.loaded(module, (64, 64)), HandlerConfig(batch_buckets=(2,)), device=CPU)
    outputs = made.run(noise(3))
    assert outputs.logits.shape == (3, 4)
    assert outputs[1:] == (None, None)


@pytest.mark.parametrize(
    ("device", "backend", "dtype"), [("cpu", "eager", "float32"), ("cuda", "inductor", "bfloat16")]
)
def test_auto_is_decided_by_the_device(monkeypatch: pytest.MonkeyPatch, device: str, backend: str, dtype: str) -> None:
    monkeypatch.setattr(engine, "_finds_compiler", lambda: True)
    plan = engine.Plan.choose(HandlerConfig(), torch.device(device))
    assert (plan.backend, plan.dtype) == (backend, dtype)


def test_inductor_without_a_compiler_becomes_eager_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", "")
    plan = engine.Plan.choose(HandlerConfig(backend="inductor"), CPU)
    assert plan.backend == "eager"
    assert "C++ compiler" in caplog.text


def distorted(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Outputs], Outputs]:
    return lambda outputs: outputs._replace(logits=change(outputs.logits), embedding=change(outputs.embedding))


@pytest.mark.parametrize(
    ("distort", "complaint"),
    [
        (distorted(lambda values: values + 1), "answers differently"),
        (distorted(lambda values: values * float("nan")), "answers differently"),
        (lambda outputs: outputs.no_such_method(), "cannot compile"),
    ],
    ids=["wrong", "not a number", "does not compile"],
)
@pytest.mark.parametrize("has_head", [True, False], ids=["with a head", "without"])
def test_a_compiled_model_that_is_not_right_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, loaded: model.LoadedModel, distort: Any,
    complaint: str, has_head: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(torch, "compile", lambda module, **_options: lambda pixels: distort(module(pixels)))
    monkeypatch.setattr(engine, "_finds_compiler", lambda: True)
    loaded = loaded if has_head else without_a_head(loaded)
    with caplog.at_level(logging.WARNING):
        made = engine.create(loaded, HandlerConfig(backend="inductor", batch_buckets=(1, 2)), device=CPU)
    assert made.backend == "eager"
    assert complaint in caplog.text


@pytest.mark.parametrize("has_head", [True, False], ids=["with a head", "without"])
def test_a_compiled_model_that_is_right_is_used(
    monkeypatch: pytest.MonkeyPatch, loaded: model.LoadedModel, has_head: bool
) -> None:
    monkeypatch.setattr(torch, "compile", lambda module, **_options: module)
    monkeypatch.setattr(engine, "_finds_compiler", lambda: True)
    loaded = loaded if has_head else without_a_head(loaded)
    made = engine.create(loaded, HandlerConfig(backend="inductor", batch_buckets=(1, 2)), device=CPU)
    assert made.backend == "inductor"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("has_head", [True, False], ids=["with a head", "without"])
def test_inductor_serves_the_same_answers(loaded: model.LoadedModel, dtype: str, has_head: bool) -> None:
    loaded = loaded if has_head else without_a_head(loaded)
    exact = engine.create(loaded, HandlerConfig(batch_buckets=(1, 2)), device=CPU).run(noise(3))
    made = engine.create(loaded, HandlerConfig(backend="inductor", dtype=dtype, batch_buckets=(1, 2)), device=CPU)
    assert made.backend == "inductor"
    outputs, bound = made.run(noise(3)), {"float32": 1e-5, "bfloat16": 2e-2}[dtype]
    for one, other in zip(outputs, exact, strict=True):
        assert other is None or not other.numel() or float((one - other).norm() / other.norm()) < bound
    if has_head:
        assert outputs.features.dtype == getattr(torch, dtype)
        maps = made.activation_maps(outputs.features[2], range(5))
        torch.testing.assert_close(maps.mean(dim=(1, 2)), outputs.logits[2], atol=1e-4, rtol=bound)
