"""What `bench_gpu` times: a model of timm, or ours with one of its attentions, compiled or not -> a forward pass.

Needs torch, timm and triton alone: of the project it imports the model part, by its path.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

HANDLER = Path(__file__).resolve().parents[1] / "handler"
MODES = {"default": None, "max-autotune": "max-autotune-no-cudagraphs"}
SDPA = {"efficient": SDPBackend.EFFICIENT_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION, "math": SDPBackend.MATH}


@dataclass(frozen=True)
class Candidate:
    attention: str = ""
    """Of ours; empty: timm's own model"""
    compiled: str = ""
    """A key of MODES; empty: not compiled"""
    captured: bool = True
    """In a CUDA graph"""
    sdpa: str = ""
    """A key of SDPA; empty: PyTorch's choice"""
    transfers: str = ""
    """alone: with the upload of the pixels and the download of the logits; overlapped: two batches under way"""

    @property
    def name(self) -> str:
        parts = (
            f"ours, {self.attention}" if self.attention else "timm",
            self.sdpa,
            f"compiled ({self.compiled})" if self.compiled else "eager",
            "" if self.captured else "no CUDA graph",
            f"transfers {self.transfers}" if self.transfers else "",
        )
        return ", ".join(filter(None, parts))


@dataclass(frozen=True)
class Built:
    run: Callable[[], object]
    """One forward pass, which may return before the device is done."""
    answer: Callable[[], torch.Tensor]
    """float32 (B, classes) of the pixels that every candidate gets"""


@dataclass
class Subject:
    """One model of timm with random weights, float32 on the CPU."""

    architecture: str
    arguments: dict[str, Any]

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.stock: nn.Module = timm.create_model(self.architecture, **self.arguments).eval()
        config: Any = self.stock.pretrained_cfg
        self.mean, self.std = config["mean"], config["std"]
        size = self.arguments.get("img_size", config["input_size"][-1])
        self.size = (size, size)

    @property
    def is_swin(self) -> bool:
        return "swin" in self.architecture


class Bench:
    """Builds candidates for one device and dtype."""

    def __init__(self, device: torch.device, dtype: torch.dtype, *, smoke: bool) -> None:
        self.device = device
        self.dtype = dtype
        self.smoke = smoke
        import_by_path()

    def pixels(self, subject: Subject, batch: int) -> torch.Tensor:
        """uint8 (B, H, W, 3) on the CPU, the same in every run"""
        generator = torch.Generator().manual_seed(batch)
        return torch.randint(0, 256, (batch, *subject.size, 3), dtype=torch.uint8, generator=generator)

    @torch.inference_mode()
    def expected(self, subject: Subject, batch: int) -> torch.Tensor:
        """timm's answer in float32 on the device, of at most 64 images: float32 (B, classes)"""
        images = self._normalised(subject, self.pixels(subject, batch)[:64])
        return deepcopy(subject.stock).to(self.device)(images).float().cpu()

    def build(self, subject: Subject, batch: int, candidate: Candidate) -> Built:
        """Raises whatever compiling and running raise."""
        backend = sdpa_kernel(SDPA[candidate.sdpa]) if candidate.sdpa else nullcontext()
        with backend:
            if candidate.attention:
                module, given = self._ours(subject, candidate), self.pixels(subject, batch)
            else:
                module, given = self._timms(subject, batch)
            run = self._compiled(module, candidate.compiled) if candidate.compiled else module
            if not candidate.captured or self.device.type != "cuda":
                return _direct(run, given.to(self.device))
            return self._captured(run, given, candidate.transfers)

    def _ours(self, subject: Subject, candidate: Candidate) -> nn.Module:
        from swin_handler.engine.cuda_attention import attend
        from swin_handler.models.inference import convert

        form = convert(subject.stock, mean=subject.mean, std=subject.std)
        assert form is not None, "the inference form covers timm's own"
        form.gives_features = False
        form.round_to(self.dtype)
        return attend(form.to(self.device), candidate.attention)

    def _timms(self, subject: Subject, batch: int) -> tuple[nn.Module, torch.Tensor]:
        """The module, and pixels already normalised and rounded on the device, which is work that ours does itself."""
        images = self._normalised(subject, self.pixels(subject, batch)).to(self.dtype)
        module = deepcopy(subject.stock).to(self.device, self.dtype)
        if not subject.is_swin:  # what convolutions are fastest with
            module, images = module.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
        return module, images

    def _compiled(self, module: nn.Module, mode: str) -> Any:
        torch._dynamo.config.recompile_limit = 256
        if self.smoke:
            return torch.compile(module, backend="aot_eager", fullgraph=True, dynamic=False)
        return torch.compile(module, mode=MODES[mode], fullgraph=True, dynamic=False)

    def _captured(self, run: Any, given: torch.Tensor, transfers: str) -> Built:
        from swin_handler.engine.cuda_graph import capture
        from swin_handler.outputs import Outputs

        def forward(pixels: torch.Tensor) -> Outputs:
            if given.is_cuda:  # timm's: what it reads is fixed memory already
                return Outputs(run(given), None, None)
            outputs: Outputs = run(pixels)
            return outputs

        size = (1, 1) if given.is_cuda else (given.shape[1], given.shape[2])
        captured = capture({len(given): forward}, size, self.device)[len(given)]
        if not given.is_cuda:
            captured(given)  # leaves the pixels where the graph reads them
        answer = _replayed(captured)
        if transfers == "overlapped":
            return Built(_overlapped(captured, given), answer)
        return Built((lambda: captured(given)) if transfers else captured.replay, answer)

    def _normalised(self, subject: Subject, pixels: torch.Tensor) -> torch.Tensor:
        """-> float32 (B, 3, H, W) on the device"""
        mean, std = (
            torch.tensor(values, device=self.device).view(1, 3, 1, 1) for values in (subject.mean, subject.std)
        )
        return (pixels.to(self.device).permute(0, 3, 1, 2).float().div(255) - mean) / std


def import_by_path() -> None:
    """Makes swin_handler's modules importable one by one, without what the package `engine` itself imports."""
    if "swin_handler.engine" in sys.modules:
        return
    sys.path.insert(0, str(HANDLER))
    package = types.ModuleType("swin_handler.engine")
    package.__path__ = [str(HANDLER / "swin_handler" / "engine")]
    sys.modules["swin_handler.engine"] = package


def _direct(run: Any, given: torch.Tensor) -> Built:
    def answer() -> torch.Tensor:
        outputs = run(given)
        return (outputs if torch.is_tensor(outputs) else outputs.logits).float().cpu()

    answer()  # compiles
    return Built(lambda: run(given), answer)


def _replayed(captured: Any) -> Callable[[], torch.Tensor]:
    def answer() -> torch.Tensor:
        torch.cuda.synchronize()
        captured.replay()
        torch.cuda.synchronize()
        logits: torch.Tensor = captured.outputs.logits.float().cpu()
        return logits

    return answer


def _overlapped(captured: Any, given: torch.Tensor) -> Callable[[], object]:
    """Starts a batch, then waits for the one before: two are always under way."""
    under_way = [captured.start(given)]

    def run() -> object:
        under_way.append(captured.start(given))
        return under_way.pop(0)()

    return run
