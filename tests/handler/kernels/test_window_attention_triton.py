"""The Triton kernel without a GPU: its numbers in Triton's interpreter, and that it compiles for a Hopper GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from swin_handler.kernels import window_attention_jit
from swin_handler.kernels.window_attention_triton import Launch, Schedule, schedules
from tests.handler.kernels.window_attention_cases import CASES, Case

ROOT = Path(__file__).parents[3]
# bfloat16 is cut, not rounded, by the interpreter: twice the rounding of a device.
BOUNDS = {"torch.float32": 3e-6, "torch.float16": 1e-3, "torch.bfloat16": 8e-3}
HOPPER = GPUTarget("cuda", 90, 32)
SWIN_T, SWIN_V2_T = Case((56, 56), (7, 7), heads=3), Case((64, 64), (16, 16), heads=3, cosine=True)


# The interpreter takes a minute for each, and float32 shows the most.
HALVES = [pytest.param(f"torch.{name}", marks=pytest.mark.slow) for name in ("bfloat16", "float16")]


@pytest.fixture(scope="module", params=["torch.float32", *HALVES])
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def errors(dtype: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.handler.kernels.interpreted", dtype.removeprefix("torch.")]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    parsed: dict[str, float] = json.loads(done.stdout)
    return parsed


@pytest.mark.parametrize("case", CASES)
def test_the_kernel_equals_its_twin(errors: dict[str, float], case: str, dtype: str) -> None:
    assert errors[case] < BOUNDS[dtype]


@pytest.mark.parametrize("tokens", [16, 49, 64, 144, 256, 576])
def test_every_schedule_covers_the_window_in_blocks_that_the_hardware_takes(tokens: int) -> None:
    for schedule in schedules(tokens):
        blocks = (schedule.queries, schedule.keys)
        assert all(block >= 16 and block & (block - 1) == 0 for block in blocks)
        assert tokens > 64 or blocks[0] == blocks[1] >= tokens


@pytest.mark.parametrize(
    ("case", "schedule"), [(case, each) for case in (SWIN_T, SWIN_V2_T) for each in schedules(case.window[0] ** 2)]
)
def test_the_kernel_compiles_for_hopper_and_uses_its_matrix_units(
    case: Case, schedule: Schedule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    compiled = triton.compile(source(case, schedule), target=HOPPER, options=options(schedule))
    product = "wgmma.mma_async" if schedule.warps % 4 == 0 else "mma.sync"
    assert product in compiled.asm["ptx"]
    assert compiled.asm["cubin"]


def source(case: Case, schedule: Schedule) -> ASTSource:
    """As the first call on a device would have it, in bfloat16."""
    launch = Launch(*(each.to("meta") if torch.is_tensor(each) else each for each in case.arguments(torch.bfloat16)))
    kernel = window_attention_jit.window_attention
    types = [*map(pointer, launch.tensors), "i32", "i32", "i32"]
    types += ["constexpr"] * (len(kernel.arg_names) - len(types))
    aligned = {(index,): [["tt.divisibility", 16]] for index in range(len(launch.tensors))}
    constants = {**launch.constants, **schedule.config().kwargs}
    return ASTSource(kernel, dict(zip(kernel.arg_names, types, strict=True)), constants, aligned)


def pointer(tensor: torch.Tensor) -> str:
    return {torch.bfloat16: "*bf16", torch.float32: "*fp32", torch.int64: "*i64"}[tensor.dtype]


def options(schedule: Schedule) -> dict[str, int]:
    return {"num_warps": schedule.warps, "num_stages": schedule.stages}
