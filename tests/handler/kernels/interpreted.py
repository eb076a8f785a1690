"""Runs the Triton kernel in Triton's interpreter, on the CPU -> JSON: relative L2 against the twin, by case.

A program of its own, for the interpreter is chosen when Triton is imported, and for the whole process:
TRITON_INTERPRET=1 python -m tests.handler.kernels.interpreted bfloat16
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
import triton.language as tl
from triton.runtime import interpreter

from swin_handler.kernels.window_attention import plain_window_attention
from swin_handler.kernels.window_attention_triton import launch, schedules
from tests.handler.kernels.window_attention_cases import CASES, Case

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def multiply_bfloat16() -> None:
    """The interpreter keeps bfloat16 as bits and multiplies those as whole numbers; a device widens the numbers."""
    plain = interpreter.InterpreterBuilder.create_dot

    def create_dot(builder: Any, a: Any, b: Any, *others: Any) -> Any:
        wide = [builder.cast_impl(each, tl.float32) if each.dtype.scalar == tl.bfloat16 else each for each in (a, b)]
        return plain(builder, *wide, *others)

    interpreter.InterpreterBuilder.create_dot = create_dot


def error(case: Case, dtype: torch.dtype, which: int) -> float:
    arguments = case.arguments(dtype)
    choices = schedules(case.window[0] * case.window[1])
    actual = launch(*arguments, schedule=choices[which % len(choices)])
    assert actual.dtype == dtype
    exact = [each.float() if torch.is_tensor(each) and each.is_floating_point() else each for each in arguments]
    expected = plain_window_attention(*exact)
    return float((actual.float() - expected).norm() / expected.norm())


def main(dtype: str) -> None:
    multiply_bfloat16()
    # Another schedule for each case and dtype: in the end all have been run.
    step = DTYPES.index(getattr(torch, dtype))
    json.dump(
        {name: error(case, DTYPES[step], number + step) for number, (name, case) in enumerate(CASES.items())},
        sys.stdout,
    )


if __name__ == "__main__":
    main(sys.argv[1])
