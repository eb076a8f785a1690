"""Swin V1 and V2 on CPUs with AVX-512, by the library in `native/`: one call for a forward pass.

The library knows neither torch nor a model, so one file serves every Swin of a dtype, on every CPU with the features
that it was compiled for.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import torch

from swin_handler.engine import compiler, cpu
from swin_handler.engine.errors import BackendFailed
from swin_handler.engine.forward import AnySize, Forward
from swin_handler.engine.native_library import Network
from swin_handler.engine.plan import Plan
from swin_handler.model import LoadedModel
from swin_handler.models import inference
from swin_handler.models.inference_swin import InferenceSwin
from swin_handler.outputs import Outputs

_SOURCES = Path(__file__).parents[1] / "native"
_FLAGS = (
    "-std=c++17", "-O3", "-fvisibility=hidden", "-mprefer-vector-width=512", "-pthread",
    # So that the machine that serves needs no C++ runtime.
    "-static-libstdc++", "-static-libgcc",
    "-mfma", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq",
)  # fmt: skip
_NUMBERS = {
    "float32": ("Float32", ()),
    "bfloat16": ("BFloat16", ("-mavx512bf16",)),
    "int8": ("Int8", ("-mavx512bf16", "-mavx512vnni")),
}
"""dtype -> what the sources call it, and what the compiler may use for it"""
_VALUES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.bfloat16}
"""dtype -> of embeddings and features"""


def library(dtype: str) -> str:
    """Its file; one that was compiled for other numbers could end the process of a CPU that lacks them."""
    return f"swin_{dtype}.so"


def refusal(model: LoadedModel, plan: Plan) -> str | None:
    if plan.device.type != "cpu":
        return "it is for CPUs"
    if not inference.covers(model.module):
        return "it is for Swin V1 and V2"
    return _missing(plan.dtype)


def _missing(dtype: str) -> str | None:
    if not cpu.has_avx512():
        return "this CPU has no AVX-512"
    if dtype != "float32" and not cpu.has_avx512_bfloat16():
        return "this CPU has no avx512_bf16"
    return "this CPU has no avx512_vnni" if dtype == "int8" and not cpu.has_avx512_int8() else None


def prepare(_model: LoadedModel, plan: Plan, folder: Path) -> None:
    """Five to ten seconds, once for each dtype: what was compiled is kept for the next model. Raises BackendFailed."""
    import platformdirs  # not where an archive runs in a stock TorchServe, which compiles nothing

    numbers, features = _NUMBERS[plan.dtype]
    flags = (*_FLAGS, *features, f"-DSWIN_NUMBERS={numbers}")
    kept = Path(platformdirs.user_cache_dir("swinserve")) / "native" / f"{_digest(flags)}.so"
    try:
        if not kept.is_file():
            kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            compiler.shared_library(_SOURCES / "swin.cpp", kept, flags)
        shutil.copyfile(kept, folder / library(plan.dtype))
    except OSError as error:
        raise BackendFailed(f"{kept.parent} cannot be used: {error.strerror}") from error


def load(model: LoadedModel, plan: Plan, folder: Path) -> dict[int, Forward]:
    if reason := refusal(model, plan):
        raise BackendFailed(reason)  # what the CPU lacks would end the process
    if not (file := folder / library(plan.dtype)).is_file():
        raise BackendFailed(f"{file.name} is not in this archive")
    form = inference.convert(model.module, mean=model.data_config["mean"], std=model.data_config["std"])
    assert form is not None, "or it is refused"
    network = _network(form, file, model.data_config["input_size"][-2:], plan)
    gives_features = model.abilities.activation_map is not None
    classes = 0 if form.head is None else form.head.out_features
    width, size, dtype = form.norm.width, form.stages[-1].size, _VALUES[plan.dtype]

    def forward(pixels: torch.Tensor) -> Outputs:
        batch = len(pixels)
        logits, embedding = torch.empty(batch, classes), torch.empty(batch, width, dtype=dtype)
        features = torch.empty(batch, *size, width, dtype=dtype) if gives_features else None
        network.run(pixels, logits, embedding, features)
        return Outputs(logits, embedding, features)

    return dict.fromkeys(plan.buckets, AnySize(forward))


def _network(form: InferenceSwin, file: Path, image: tuple[int, int], plan: Plan) -> Network:
    network = Network(file, plan.threads)
    size = form.stages[0].size
    network.embed(form.embed, image, size)
    for stage in form.stages:
        if stage.merge is not None:
            network.merge(stage.merge, size)
        for block in stage.blocks:
            network.block(block)
        size = stage.size
    network.head(form.norm, form.head)
    network.finish(max(plan.buckets))
    return network


def _digest(flags: tuple[str, ...]) -> str:
    """Of everything that the library is made of; another compiler is told by its path alone."""
    digest = hashlib.sha256(" ".join((*flags, *(compiler.find() or ()))).encode())
    for source in sorted(_SOURCES.iterdir()):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:20]
