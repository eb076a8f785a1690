"""The ways to compute window attention on a GPU, by name; which is fastest depends on GPU, batch and windows."""

from __future__ import annotations

import torch

from swin_handler.kernels.window_attention import plain_window_attention, window_attention
from swin_handler.kernels.window_attention_flex import flex_window_attention
from swin_handler.kernels.window_attention_sdpa import aligned, sdpa_window_attention
from swin_handler.models.inference_swin import InferenceSwin

ATTENTIONS = ("triton", "sdpa", "flex", "plain")
"""Our kernel; PyTorch's fused attention; its FlexAttention, only worth it when compiled; products and softmax"""


def attend(form: InferenceSwin, attention: str) -> InferenceSwin:
    """`form`, which is in its dtype and on its device, with another attention in all its blocks."""
    if attention == "triton":
        # Not at the top: it is what the operator runs on CUDA, and elsewhere there may be no Triton.
        from swin_handler.kernels import window_attention_triton  # noqa: F401

        form.use(window_attention)
    elif attention == "flex":
        form.use(flex_window_attention)
    else:
        form.lay_out_bias()
        form.use(plain_window_attention)
        if attention == "sdpa":
            _align(form, form.dtype)
            form.use(sdpa_window_attention)
    return form


def _align(form: InferenceSwin, dtype: torch.dtype) -> None:
    for block in form.blocks():
        block.bias = aligned(block.bias, dtype)
