"""The seam: pixels uint8 (B, H, W, 3) on the CPU -> Outputs: logits on the CPU, what else there is on the device.

Behind it: pad to a batch bucket -> device -> normalise -> model in its dtype -> float32 logits. Every bucket is warmed
before the worker reports loaded; nothing compiles under a request.
"""

from __future__ import annotations

import bisect
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self, cast

import torch
from torch import nn

from swin_handler.abilities import SplitModel
from swin_handler.activation_map import channels_last, class_maps
from swin_handler.config import HandlerConfig
from swin_handler.model import LoadedModel
from swin_handler.outputs import Outputs, joined

log = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_AUTO_DTYPE = {"cpu": "float32", "cuda": "bfloat16"}
_AUTO_BACKEND = {"cpu": "eager", "cuda": "inductor"}
# Relative L2 of a compiled model's answers against eager float32 above which it is not used: far above rounding
# (1e-6 and 1e-2 are usual), far below a wrong kernel.
_TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2}

Forward = Callable[[torch.Tensor], Outputs]


class Engine(Protocol):
    backend: str
    dtype: str
    buckets: tuple[int, ...]

    def run(self, pixels: torch.Tensor) -> Outputs:
        """uint8 (B, H, W, 3) on the CPU, for any B from 1 up; one forward pass gives everything in Outputs."""

    def activation_maps(self, features: torch.Tensor, classes: Sequence[int]) -> torch.Tensor:
        """One image's features (h, w, C), of Outputs -> float32 (classes, h, w) on the CPU; each map's mean is the
        class's logit."""

    def bucket(self, size: int) -> int:
        """The bucket that `size` images, at most the largest bucket, are padded to."""


class NormalisedModel(nn.Module):
    """uint8 (B, H, W, 3) on the device -> Outputs, all on the device: one graph, normalisation included."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: LoadedModel) -> None:
        super().__init__()
        self.model = model.module
        self.dtype = torch.float32
        self._has_head = bool(model.labels)
        self._has_embedding = model.abilities.embedding_size > 0
        self.classifier = _classifier(model) if model.abilities.activation_map else None
        """The linear layer after the pooling, for models that have class activation maps."""
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(model.data_config[name], dtype=torch.float32).view(1, 3, 1, 1))

    def round_to(self, dtype: str) -> None:
        """Turn the model's weights, not the normalisation, into `dtype`."""
        self.dtype = _DTYPES[dtype]
        self.model.to(self.dtype)

    def forward(self, pixels: torch.Tensor) -> Outputs:
        # In float32 and in torchvision's order (÷255, −mean, ÷std), so that it equals timm's pipeline to the bit;
        # rounded once, to the model's dtype.
        x = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div(255)
        x = x.sub(self.mean).div(self.std).to(self.dtype)  # (B, 3, H, W)
        if not self._has_head:
            embedding = self.model(x)  # (B, D)
            return Outputs(embedding[:, :0].float(), embedding, None)
        if not self._has_embedding:
            return Outputs(self.model(x).float(), None, None)
        return self._in_halves(x)

    def _in_halves(self, x: torch.Tensor) -> Outputs:
        halves = cast(SplitModel, self.model)
        features = halves.forward_features(x)
        # The head twice; the second time is the pooling alone, less than a ten-thousandth of Swin-T's pass.
        logits = halves.forward_head(features).float()  # (B, classes)
        embedding = halves.forward_head(features, pre_logits=True)  # (B, D)
        places = channels_last(features, self.classifier.in_features) if self.classifier is not None else None
        return Outputs(logits, embedding, places)  # places: (B, h, w, C)


@dataclass(frozen=True)
class Plan:
    """How the model runs: everything of the configuration that `auto` left open is decided here."""

    backend: str
    dtype: str
    buckets: tuple[int, ...]
    """Batch sizes, ascending."""
    device: torch.device

    @classmethod
    def choose(cls, config: HandlerConfig, device: torch.device) -> Self:
        backend = config.backend if config.backend != "auto" else _AUTO_BACKEND[device.type]
        if backend == "inductor" and not _finds_compiler():
            log.warning("inductor needs a C++ compiler and none was found, eager serves")
            backend = "eager"
        dtype = config.dtype if config.dtype != "auto" else _AUTO_DTYPE[device.type]
        return cls(backend, dtype, config.batch_buckets, device)


class TorchEngine:
    """The timm model, eager or compiled by inductor."""

    def __init__(self, forward: Forward, plan: Plan, classifier: nn.Linear | None) -> None:
        self.backend = plan.backend
        self.dtype = plan.dtype
        self.buckets = plan.buckets
        self._forward = forward
        self._device = plan.device
        self._classifier = classifier

    def bucket(self, size: int) -> int:
        return self.buckets[bisect.bisect_left(self.buckets, size)]

    def run(self, pixels: torch.Tensor) -> Outputs:
        chunks = [self._run_bucket(chunk) for chunk in torch.split(pixels, self.buckets[-1])]
        return chunks[0] if len(chunks) == 1 else joined(chunks)

    def activation_maps(self, features: torch.Tensor, classes: Sequence[int]) -> torch.Tensor:
        assert self._classifier is not None, "without it there were no features"
        return class_maps(features, self._classifier, classes).cpu()

    @torch.inference_mode()
    def _run_bucket(self, pixels: torch.Tensor) -> Outputs:
        size = len(pixels)
        padded = pixels.new_zeros(self.bucket(size), *pixels.shape[1:])
        padded[:size] = pixels
        if self._device.type == "cuda":
            padded = padded.pin_memory().to(self._device, non_blocking=True)
        return self._forward(padded).first(size).on_cpu()


def create(model: LoadedModel, config: HandlerConfig, *, device: torch.device) -> TorchEngine:
    """A warm engine: every bucket has run once and, if compiled, agreed with eager float32."""
    plan = Plan.choose(config, device)
    module = NormalisedModel(model).eval().to(device)
    probe = _probe(model, plan.buckets[-1])
    if plan.backend == "inductor":
        expected = TorchEngine(module, plan, None).run(probe).answer  # eager, float32
        module.round_to(plan.dtype)
        if (compiled := _inductor(module, plan, probe, expected)) is not None:
            return compiled
        plan = replace(plan, backend="eager")
    module.round_to(plan.dtype)
    engine = TorchEngine(module, plan, module.classifier)
    warm(engine, probe)
    return engine


def warm(engine: Engine, probe: torch.Tensor) -> list[torch.Tensor]:
    """One forward for each bucket; returns their answers, smallest bucket first."""
    return [engine.run(probe[:bucket]).answer for bucket in engine.buckets]


def _inductor(module: NormalisedModel, plan: Plan, probe: torch.Tensor, expected: torch.Tensor) -> TorchEngine | None:
    """The compiled engine, or None (and a warning) when it cannot be built or answers differently."""
    # Each bucket is a graph of its own; beyond the limit fullgraph compilation would be an error.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, len(plan.buckets) + 1)
    # A graph break is a bug, not a slowdown; dynamic shapes cost speed, and the buckets are known.
    compiled = torch.compile(module, fullgraph=True, dynamic=False)
    engine = TorchEngine(compiled, plan, module.classifier)
    try:
        answers = warm(engine, probe)
    except Exception as error:  # noqa: BLE001 - a compiler fails in many ways; eager always works
        log.warning("inductor cannot compile this model here, eager serves: %s", str(error).strip().partition("\n")[0])
        return None
    worst = max(_relative_l2(answer, expected[: len(answer)]) for answer in answers)
    # Cosine attention amplifies rounding: trained Swin V2 is off by 0.125 in eager bfloat16 already.
    eager = _relative_l2(TorchEngine(module, plan, None).run(probe).answer, expected)
    if not worst <= max(_TOLERANCE[plan.dtype], 1.5 * eager):
        log.warning("inductor answers differently (relative L2 %.1e in %s), eager serves", worst, plan.dtype)
        return None
    return engine


def _relative_l2(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def _classifier(model: LoadedModel) -> nn.Linear:
    layer = cast(SplitModel, model.module).get_classifier()
    assert isinstance(layer, nn.Linear), "the builder has seen that it is one"
    return layer


def _probe(model: LoadedModel, size: int) -> torch.Tensor:
    """Fixed noise (B, H, W, 3): unlike a grey image it reaches every unit."""
    height, width = model.data_config["input_size"][-2:]
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (size, height, width, 3), dtype=torch.uint8, generator=generator)


def _finds_compiler() -> bool:
    return any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++")))
