"""Batches of any size over forward passes of fixed sizes, with the models of the family and any other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from timm.data import create_transform

from swin_handler import engine, model
from swin_handler.config import Abilities, Manifest
from swin_handler.engine import BatchEngine
from swin_handler.engine.forward import AnySize, Forward
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


def eager(loaded: model.LoadedModel, *buckets: int, dtype: str = "float32") -> BatchEngine:
    return engine.build(loaded, device=CPU, dtype=dtype, buckets=buckets, backend="eager")


def test_logits_are_timms_own_on_the_same_picture(loaded: model.LoadedModel) -> None:
    image = pictures.gradient()
    with torch.inference_mode():
        expected = loaded.module(create_transform(**loaded.data_config)(image)[None])
    pixels = create_transform(**loaded.data_config, normalize=False)(image).permute(1, 2, 0)[None]
    answer = eager(loaded, 1).run(pixels).logits
    assert answer.dtype == torch.float32
    assert float((answer - expected).norm() / expected.norm()) < 1e-5


def test_padding_does_not_change_answers(loaded: model.LoadedModel) -> None:
    made = eager(loaded, 4)
    pixels = noise(4)
    full = made.run(pixels)
    for size in (1, 2, 3):
        assert all(map(torch.equal, made.run(pixels[:size]), full.first(size)))


def test_a_forward_of_any_size_gets_no_padding(loaded: model.LoadedModel) -> None:
    sizes: list[int] = []

    def forward(pixels: torch.Tensor) -> Outputs:
        sizes.append(len(pixels))
        return Outputs(pixels[:, 0, 0, :].float(), None, None)

    forwards: dict[int, Forward] = {2: AnySize(forward), 8: forward}
    made = BatchEngine(loaded, forwards, {2: "native", 8: "inductor"}, dtype="float32", device=CPU)
    assert [made.padded(size) for size in (1, 2, 3, 8)] == [1, 2, 8, 8]
    for size in (1, 2, 3, 9):
        assert len(made.run(noise(size)).logits) == size
    assert sizes == [1, 2, 8, 8, 1]


def test_more_than_the_largest_bucket_is_split(loaded: model.LoadedModel) -> None:
    made = eager(loaded, 1, 2, 4)
    assert [made.padded(size) for size in (1, 2, 3, 4)] == [1, 2, 4, 4]
    pixels = noise(9)
    together, alone = made.run(pixels), joined([made.run(pixels[i : i + 1]) for i in range(9)])
    assert [values.shape for values in together] == [(9, 5), (9, 48), (9, 8, 8, 48)]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_each_bucket_has_the_forward_pass_of_its_own_backend(loaded: model.LoadedModel) -> None:
    seen: list[tuple[str, int]] = []

    def forward(name: str):
        def run(pixels: torch.Tensor) -> Outputs:
            seen.append((name, len(pixels)))
            return Outputs(torch.zeros(len(pixels), 5), None, None)

        return run

    forwards = {1: forward("one"), 2: forward("one"), 4: forward("other")}
    made = BatchEngine(loaded, forwards, {1: "one", 2: "one", 4: "other"}, dtype="float32", device=CPU)
    assert (made.backend, made.buckets) == ("one+other", (1, 2, 4))
    assert [len(made.run(noise(size)).logits) for size in (1, 2, 3, 7)] == [1, 2, 3, 7]
    assert seen == [("one", 1), ("one", 2), ("other", 4), ("other", 4), ("other", 4)]


def test_chunks_are_all_started_before_the_first_is_waited_for(loaded: model.LoadedModel) -> None:
    seen: list[str] = []

    class Device:
        def start(self, pixels: torch.Tensor):
            seen.append("start")

            def answer() -> Outputs:
                seen.append("wait")
                return Outputs(pixels[:, 0, 0, :].float(), None, None)

            return answer

        def __call__(self, pixels: torch.Tensor) -> Outputs:
            return self.start(pixels)()

    pixels = noise(5)
    made = BatchEngine(loaded, {2: Device()}, {2: "device"}, dtype="float32", device=CPU)
    assert torch.equal(made.run(pixels).logits, pixels[:, 0, 0, :].float())
    assert seen == ["start"] * 3 + ["wait"] * 3


def test_bfloat16_stays_close_to_float32(loaded: model.LoadedModel) -> None:
    exact, made = eager(loaded, 4).run(noise(4)), eager(loaded, 4, dtype="bfloat16")
    rounded = made.run(noise(4))
    assert (made.dtype, made.backend) == ("bfloat16", "eager")
    assert (rounded.logits.dtype, rounded.embedding.dtype) == (torch.float32, torch.bfloat16)
    for one, other in zip(rounded, exact, strict=True):
        assert float((one - other).norm() / other.norm()) < 2e-2


def test_an_engine_in_bfloat16_leaves_the_model_as_it_was() -> None:
    for name in ("swin_tiny_patch4_window7_224", "resnet18"):
        arguments, size = small_models.MAPPED[name][:2]
        held = small_models.loaded(small_models.classifier(name, arguments), size)
        before = {key: tensor.clone() for key, tensor in held.module.state_dict().items()}
        eager(held, 2, dtype="bfloat16")
        after = held.module.state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before)


def without_a_head(loaded: model.LoadedModel) -> model.LoadedModel:
    loaded.module.reset_classifier(0)
    return replace(loaded, labels=(), abilities=Abilities(48))


def test_a_model_without_a_head_gives_embeddings_alone(loaded: model.LoadedModel) -> None:
    expected = eager(loaded, 2).run(noise(3)).embedding
    outputs = eager(without_a_head(loaded), 2).run(noise(3))
    assert outputs.logits.shape == (3, 0)
    assert torch.equal(outputs.embedding, expected)
    assert outputs.features is None


def test_a_model_whose_head_cannot_be_split_off_gives_logits_alone() -> None:
    outputs = eager(small_models.loaded(NoHalves().eval(), (64, 64)), 2).run(noise(3))
    assert outputs.logits.shape == (3, 4)
    assert outputs[1:] == (None, None)


@pytest.mark.parametrize(
    "pixels",
    [
        torch.zeros(1, 64, 63, 3, dtype=torch.uint8),
        torch.zeros(1, 3, 64, 64, dtype=torch.uint8),
        torch.zeros(1, 64, 64, 3),
        torch.zeros(0, 64, 64, 3, dtype=torch.uint8),
    ],
    ids=["narrow", "channels first", "float32", "empty"],
)
def test_pixels_of_another_shape_or_type_are_refused(loaded: model.LoadedModel, pixels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"must be uint8 \(B, 64, 64, 3\)"):
        eager(loaded, 1).run(pixels)


def test_buckets_may_come_in_any_order(loaded: model.LoadedModel) -> None:
    made = eager(loaded, 4, 1, 4)
    assert made.buckets == (1, 4)


class OnADevice:
    def __call__(self, pixels: torch.Tensor) -> Outputs:
        return self.start(pixels)()

    def start(self, pixels: torch.Tensor) -> Callable[[], Outputs]:
        raise AssertionError("nothing is run here")


@pytest.mark.parametrize(
    ("buckets", "ahead"),
    [((1, 2, 4, 8), 8), ((1, 8, 16, 32), 8), ((8, 16, 32, 64), 16), ((1, 64), 64), ((1, 2, 4), 0)],
)
def test_a_batch_is_begun_with_in_parts_on_a_device_beside_the_cpu_alone(
    loaded: model.LoadedModel, buckets: tuple[int, ...], ahead: int
) -> None:
    choice = dict.fromkeys(buckets, "graphs")
    beside = BatchEngine(loaded, dict.fromkeys(buckets, OnADevice()), choice, dtype="float32", device=CPU)
    assert beside.ahead == ahead
    assert eager(loaded, *buckets).ahead == 0
