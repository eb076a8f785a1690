"""Every backend on a CUDA device: the network with one of its attentions, compiled or not, captured or not."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import nn

from swin_handler.engine.cuda_attention import attend
from swin_handler.engine.cuda_graph import OnDevice, capture
from swin_handler.engine.errors import BackendFailed
from swin_handler.engine.forward import Forward
from swin_handler.engine.network import network
from swin_handler.engine.plan import TORCH_DTYPES, Plan
from swin_handler.model import LoadedModel
from swin_handler.models.inference import InferenceSwin
from swin_handler.outputs import Outputs

_OLDEST = (8, 0)
"""The compute capability that Triton's kernels for bfloat16 need: Ampere."""
_GRAPHS = 256
"""Compiled graphs of one network, over buckets and backends: far more than there are; beyond it compiling fails."""


@dataclass(frozen=True)
class Way:
    attention: str | None
    """None: the best for a Swin, and for other models their own."""
    compiled: bool
    captured: bool


WAYS = {
    "inductor": Way(None, compiled=True, captured=True),
    "inductor-sdpa": Way("sdpa", compiled=True, captured=True),
    "inductor-flex": Way("flex", compiled=True, captured=True),
    "triton": Way("triton", compiled=False, captured=True),
    "graphs": Way("sdpa", compiled=False, captured=True),
    "eager": Way("plain", compiled=False, captured=False),
}
"""Backends by name. Only the last two need no compiler, and only the last runs everything."""
_SWIN_ALONE = ("inductor-sdpa", "inductor-flex", "triton")
"""They differ from another backend in the attention alone."""


def refusal(model: LoadedModel, plan: Plan) -> str | None:
    if plan.dtype not in TORCH_DTYPES:
        return f"{plan.backend} on a GPU has no {plan.dtype}"
    if plan.backend in _SWIN_ALONE and not isinstance(model.module, SwinTransformer | SwinTransformerV2):
        return "it differs from others in Swin's window attention, and this model is no Swin"
    if not torch.cuda.is_available():
        return "no CUDA device is found here"
    return _no_compiler(plan.device) if _compiles(plan) else None


def prepare(model: LoadedModel, plan: Plan, folder: Path) -> None:
    """Compiles every bucket and leaves what Inductor and Triton cache. Raises BackendFailed."""
    if _compiles(plan):
        with caches_in(folder):
            _forwards(model, plan)


def load(model: LoadedModel, plan: Plan, folder: Path) -> dict[int, Forward]:
    """Raises BackendFailed."""
    if not _compiles(plan):
        return _forwards(model, plan)
    if not any(folder.glob("*")):
        raise BackendFailed(f"{plan.backend} was not compiled ahead")
    # From a copy, for caches write when they are read, and an archive's files are to stay what they were.
    with tempfile.TemporaryDirectory(prefix="swinserve-caches-") as scratch:
        shutil.copytree(folder, scratch, dirs_exist_ok=True)
        with caches_in(Path(scratch)):
            return _forwards(model, plan)


@contextmanager
def caches_in(folder: Path) -> Iterator[None]:
    """Meanwhile torch.compile and Triton look there for what they have compiled, and leave it there."""
    folders = {"TORCHINDUCTOR_CACHE_DIR": folder / "inductor", "TRITON_CACHE_DIR": folder / "triton"}
    before = {name: os.environ.get(name) for name in folders}
    os.environ.update({name: str(path) for name, path in folders.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _forwards(model: LoadedModel, plan: Plan) -> dict[int, Forward]:
    if plan.dtype == "float32":
        torch.backends.cudnn.allow_tf32 = False  # on by default, for convolutions; it is off by 1e-3
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "TensorFloat32")  # Inductor advises it
            return _made(model, plan)
    except BackendFailed:
        raise
    except Exception as error:
        # Raises again if the device itself is lost; then nothing else could serve here either.
        torch.cuda.synchronize(plan.device)
        reason = str(error).strip().partition("\n")[0]
        raise BackendFailed(f"{type(error).__name__}: {reason}") from error


def _made(model: LoadedModel, plan: Plan) -> dict[int, Forward]:
    way = WAYS[plan.backend]
    module = network_of(model, plan)
    run = compiled(module) if way.compiled else cast(OnDevice, module)
    if not way.captured:
        return dict.fromkeys(plan.buckets, _uncaptured(run, plan.device))
    height, width = model.data_config["input_size"][-2:]
    return {**capture(dict.fromkeys(plan.buckets, run), (height, width), plan.device)}


def network_of(model: LoadedModel, plan: Plan) -> nn.Module:
    """The plan's network with its backend's attention. Raises BackendFailed."""
    module = network(model, plan)
    attention = WAYS[plan.backend].attention
    if isinstance(module, InferenceSwin):
        return attend(module, attention or "triton")
    if plan.backend in _SWIN_ALONE:
        raise BackendFailed("this Swin has parts that the inference form does not know")
    return module


def compiled(module: nn.Module) -> OnDevice:
    """Compiles at the first call for each batch size."""
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _GRAPHS)
    # A graph break is a bug, not a slowdown; dynamic shapes cost speed, and the buckets are known. CUDA graphs are
    # ours: Inductor's own would copy the pixels once more and check their address in every call.
    return cast(OnDevice, torch.compile(module, mode="max-autotune-no-cudagraphs", fullgraph=True, dynamic=False))


def _uncaptured(module: OnDevice, device: torch.device) -> Callable[[torch.Tensor], Outputs]:
    @torch.inference_mode()
    def forward(pixels: torch.Tensor) -> Outputs:
        return module(pixels.to(device)).on_cpu()

    return forward


def _compiles(plan: Plan) -> bool:
    return WAYS[plan.backend].compiled or WAYS[plan.backend].attention == "triton"


def _no_compiler(device: torch.device) -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if torch.cuda.get_device_capability(device) < _OLDEST:
        return "this GPU is older than Ampere, for which Triton compiles"
    if not any(map(shutil.which, (os.environ.get("CC", "gcc"), "clang"))):
        return "Triton needs a C compiler and none was found (CC, gcc or clang)"
    return None
