"""AOTInductor with freezing: one shared library for each batch bucket, weights inside, compiled ahead.

A start only maps the library into memory: no compiler, no unpacking, and workers share its pages. Freezing folds what
depends on weights alone and packs the weights for oneDNN; without it Swin-T ran at two thirds of the speed, so it is
not offered.
"""

from __future__ import annotations

import shlex
import struct
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from swin_handler.engine import compiler, flat
from swin_handler.engine.errors import BackendFailed
from swin_handler.engine.flat import FlatNetwork
from swin_handler.engine.forward import Forward
from swin_handler.engine.network import network
from swin_handler.engine.plan import TORCH_DTYPES, Plan
from swin_handler.model import LoadedModel
from swin_handler.outputs import Outputs

_LIBRARY = "batch_{}.so"
_ELF_HEADER = struct.Struct("<4s36xQ10xHHH")
"""Of a 64-bit file (gabi, ELF header): magic, e_shoff, e_shentsize, e_shnum, e_shstrndx"""


def refusal(_model: LoadedModel, plan: Plan) -> str | None:
    if plan.device.type != "cpu":
        return "its packages are for the CPU"
    return None if plan.dtype in TORCH_DTYPES else f"it has no {plan.dtype}"


def prepare(model: LoadedModel, plan: Plan, folder: Path) -> None:
    """Half a minute for each bucket of Swin-T. Raises BackendFailed, also when there is no C++ compiler."""
    if (command := compiler.find()) is None:
        raise BackendFailed("no C++ compiler was found: install g++ or clang++, or set CXX")
    options = {
        "freezing": True,
        # The loops of fused kernels have their number of threads compiled in.
        "cpp.threads": plan.threads,
        "cpp.cxx": (shlex.join(command),),
    }
    module = FlatNetwork(network(model, plan), flat.parts(model))
    height, width = model.data_config["input_size"][-2:]
    for bucket in plan.buckets:
        pixels = torch.zeros(bucket, height, width, 3, dtype=torch.uint8)
        try:
            _compile(module, pixels, folder / _LIBRARY.format(bucket), options)
        except Exception as error:  # a compiler fails in many ways, and another backend can serve
            raise BackendFailed(f"it cannot compile batch {bucket}: {_first_line(error)}") from error


def load(model: LoadedModel, plan: Plan, folder: Path) -> dict[int, Forward]:
    parts = flat.parts(model)
    return {bucket: _load(folder / _LIBRARY.format(bucket), parts) for bucket in plan.buckets}


@torch.no_grad()
def _compile(module: nn.Module, pixels: torch.Tensor, to: Path, options: dict[str, object]) -> None:
    # Imported here: a start needs no compiler, and these take a second.
    from torch._inductor import aoti_compile_and_package
    from torch._inductor.utils import fresh_cache

    program = torch.export.export(module, (pixels,))
    # What it writes on the way is several times the weights, and of no use afterwards.
    with tempfile.TemporaryDirectory(prefix="swinserve-inductor-") as scratch:
        with fresh_cache(dir=scratch, delete=False):
            package = aoti_compile_and_package(
                program, package_path=f"{scratch}/model.pt2", inductor_configs=dict(options)
            )
        _unpack(Path(package), to)


def _unpack(package: Path, to: Path) -> None:
    """The library and, where it calls operators that have no C interface, the file beside it that lists them."""
    with zipfile.ZipFile(package) as archive:
        names = archive.namelist()
        (library,) = (name for name in names if name.endswith(".so"))
        to.write_bytes(archive.read(library))
        if (called := library.removesuffix(".so") + ".json") in names:
            to.with_suffix(".json").write_bytes(archive.read(called))


def _load(library: Path, parts: Sequence[str]) -> Forward:
    _check_whole(library)
    try:
        # The loader of packages unpacks them into /tmp at every start, where a killed worker leaves them.
        runner = torch._C._aoti.AOTIModelContainerRunnerCpu(str(library.resolve()), 1)
    except RuntimeError as error:
        raise BackendFailed(f"{library.name} cannot be loaded: {_first_line(error)}") from error

    def forward(pixels: torch.Tensor) -> Outputs:
        return flat.outputs(parts, runner.run([pixels]))

    return forward


def _check_whole(library: Path) -> None:
    """Raises BackendFailed for a file that is missing, no library or cut short: mapping that ends the process."""
    try:
        with library.open("rb") as stream:
            magic, table, entry, entries, _names = _ELF_HEADER.unpack(stream.read(_ELF_HEADER.size))
        size = library.stat().st_size
    except OSError as error:
        raise BackendFailed(f"{library.name} cannot be read: {error.strerror}") from error
    except struct.error:
        magic = b""
    if magic != b"\x7fELF" or table + entry * entries > size:
        raise BackendFailed(f"{library.name} is damaged: build the archive again")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
