"""Window attention from image order to image order, against timm's own blocks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.swin_transformer_v2 import SwinTransformerV2Block
from torch import nn

from swin_handler.kernels.window_attention import plain_window_attention, window_attention
from swin_handler.models.window_bias import cosine_table, merged
from tests.handler.kernels.window_attention_cases import CASES, Case

SMALL = ["window 7, shifted", "window 7, padded, shifted", "window 8, V2, shifted", "window 7, shifted downwards alone"]


def timm_block(case: Case) -> Any:
    """Attention alone: no norm, no projection of what it gives."""
    torch.manual_seed(7)
    sizes = {"window_size": case.window, "shift_size": case.shift, "always_partition": True}
    width = case.heads * case.depth
    if case.cosine:
        block: Any = SwinTransformerV2Block(width, case.size, case.heads, **sizes)
        nn.init.uniform_(block.attn.logit_scale, 2.0, 6.0)  # ln 100 is 4.6: some are clamped
        nn.init.normal_(block.attn.q_bias)
        nn.init.normal_(block.attn.v_bias)
    else:
        block = SwinTransformerBlock(width, case.size, case.heads, **sizes)
        nn.init.normal_(block.attn.relative_position_bias_table)
        nn.init.normal_(block.attn.qkv.bias)
    block.attn.proj = nn.Identity()
    return block.eval()


def arguments(case: Case, block: Any, x: torch.Tensor) -> tuple[Any, ...]:
    attention = block.attn
    if case.cosine:
        pad_qkv = torch.cat([attention.q_bias, torch.zeros_like(attention.q_bias), attention.v_bias])
        qkv = attention.qkv(x) + pad_qkv
        scale, table = attention.logit_scale.flatten().exp().clamp(max=100), cosine_table(attention)
    else:
        factor = torch.ones(3 * x.shape[-1])
        factor[: x.shape[-1]] = case.depth**-0.5
        qkv, pad_qkv = attention.qkv(x) * factor, attention.qkv.bias * factor
        scale, table = None, attention.relative_position_bias_table
    bias, window_type = merged(table, case.size, case.window, case.shift)
    return qkv, bias, window_type, scale, case.window, case.shift, pad_qkv


def relative_l2(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual.float() - expected).norm() / expected.norm())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@torch.inference_mode()
def test_it_agrees_with_timm(case: Case) -> None:
    block = timm_block(case)
    x = torch.randn(case.batch, *case.size, case.heads * case.depth)
    assert relative_l2(plain_window_attention(*arguments(case, block, x)), block._attn(x)) <= 1e-6


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@torch.inference_mode()
def test_the_operator_and_biases_laid_out_by_window_change_nothing(case: Case) -> None:
    qkv, bias, window_type, *rest = case.arguments()
    twin = plain_window_attention(qkv, bias, window_type, *rest)
    assert torch.equal(window_attention(qkv, bias, window_type, *rest), twin)
    assert torch.equal(plain_window_attention(qkv, bias[window_type], None, *rest), twin)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@torch.inference_mode()
def test_bfloat16_is_off_by_rounding_alone(case: Case) -> None:
    expected = plain_window_attention(*case.arguments())
    got = plain_window_attention(*case.arguments(torch.bfloat16))
    assert got.dtype == torch.bfloat16
    # A scale of 100 makes 0.4 of the rounding of a cosine of 1 in bfloat16.
    assert relative_l2(got, expected) <= (0.2 if case.cosine else 0.01)


@pytest.mark.parametrize("name", SMALL)
def test_the_operator_is_a_proper_one(name: str) -> None:
    torch.library.opcheck(window_attention, CASES[name].arguments())


@pytest.mark.parametrize("attention", [plain_window_attention, window_attention])
@torch.inference_mode()
def test_compilation_breaks_at_neither(attention: Any) -> None:
    given = CASES["window 8, V2, padded, shifted"].arguments()
    compiled = torch.compile(lambda *args: attention(*args) * 2, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*given), attention(*given) * 2)
