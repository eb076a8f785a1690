from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from timm.data import create_transform

from swin_handler import engine, model
from swin_handler.config import HandlerConfig, Manifest
from tests.handler import pictures

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
    answer = engine.create(loaded, HandlerConfig(batch_buckets=(1,)), device=CPU).run(pixels)
    assert answer.dtype == torch.float32
    assert torch.equal(answer, expected)


def test_padding_does_not_change_answers(loaded: model.LoadedModel) -> None:
    made = engine.create(loaded, HandlerConfig(batch_buckets=(4,)), device=CPU)
    pixels = noise(4)
    full = made.run(pixels)
    for size in (1, 2, 3):
        assert torch.equal(made.run(pixels[:size]), full[:size])


def test_more_than_the_largest_bucket_is_split(loaded: model.LoadedModel) -> None:
    made = engine.create(loaded, HandlerConfig(batch_buckets=(1, 2, 4)), device=CPU)
    assert [made.bucket(size) for size in (1, 2, 3, 4)] == [1, 2, 4, 4]
    pixels = noise(9)
    answer = made.run(pixels)
    assert answer.shape == (9, 5)
    torch.testing.assert_close(answer, torch.cat([made.run(pixels[i : i + 1]) for i in range(9)]), atol=1e-5, rtol=0)


def test_every_bucket_is_run_before_the_engine_is_handed_out(loaded: model.LoadedModel) -> None:
    seen: list[int] = []
    loaded.module.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    engine.create(loaded, HandlerConfig(batch_buckets=(1, 2, 4)), device=CPU)
    assert seen == [1, 2, 4]


def test_bfloat16_stays_close_to_float32(loaded: model.LoadedModel) -> None:
    exact = engine.create(loaded, HandlerConfig(batch_buckets=(4,)), device=CPU).run(noise(4))
    made = engine.create(loaded, HandlerConfig(batch_buckets=(4,), dtype="bfloat16"), device=CPU)
    rounded = made.run(noise(4))
    assert (made.dtype, made.backend) == ("bfloat16", "eager")
    assert rounded.dtype == torch.float32
    assert float((rounded - exact).norm() / exact.norm()) < 2e-2


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


@pytest.mark.parametrize(
    ("compiled", "complaint"),
    [
        (lambda module: lambda pixels: module(pixels) + 1, "answers differently"),
        (lambda module: lambda pixels: module(pixels) * float("nan"), "answers differently"),
        (lambda module: lambda pixels: pixels.no_such_method(), "cannot compile"),
    ],
    ids=["wrong", "not a number", "does not compile"],
)
def test_a_compiled_model_that_is_not_right_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, loaded: model.LoadedModel, compiled, complaint
) -> None:
    monkeypatch.setattr(torch, "compile", lambda module, **_options: compiled(module))
    monkeypatch.setattr(engine, "_finds_compiler", lambda: True)
    with caplog.at_level(logging.WARNING):
        made = engine.create(loaded, HandlerConfig(backend="inductor", batch_buckets=(1, 2)), device=CPU)
    assert made.backend == "eager"
    assert complaint in caplog.text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_inductor_serves_the_same_answers(loaded: model.LoadedModel, dtype: str) -> None:
    exact = engine.create(loaded, HandlerConfig(batch_buckets=(1, 2)), device=CPU).run(noise(3))
    made = engine.create(loaded, HandlerConfig(backend="inductor", dtype=dtype, batch_buckets=(1, 2)), device=CPU)
    assert made.backend == "inductor"
    answer = made.run(noise(3))
    assert float((answer - exact).norm() / exact.norm()) < {"float32": 1e-5, "bfloat16": 2e-2}[dtype]
