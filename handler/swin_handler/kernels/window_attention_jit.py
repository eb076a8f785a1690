"""The kernel of window attention, in Triton's language: parameters in capitals are constants of what is compiled."""

# ruff: noqa: N803, N806
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-untyped"

from __future__ import annotations

import triton
import triton.language as tl


# The shift is no constant, nor guessed at by its divisibility, so that shifted and other blocks share a kernel.
@triton.jit(do_not_specialize=["batch", "shift_h", "shift_w"])
def window_attention(
    qkv, bias, window_type, scale, pad_qkv, out, batch, shift_h, shift_w,
    MAP_H: tl.constexpr, MAP_W: tl.constexpr, WINDOW_H: tl.constexpr, WINDOW_W: tl.constexpr, COLUMNS: tl.constexpr,
    HEADS: tl.constexpr, DEPTH: tl.constexpr, BLOCK_D: tl.constexpr,
    PADDED: tl.constexpr, COSINE: tl.constexpr, PRECISION: tl.constexpr,
    IMAGES: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Softmax runs in base 2, which is what the hardware has: scores and bias are multiplied by log2(e).

    With several blocks of keys it is kept by a running maximum and sum (arXiv 1805.02867, algorithm 3).
    """
    TOKENS: tl.constexpr = WINDOW_H * WINDOW_W
    CHANNELS: tl.constexpr = HEADS * DEPTH
    LOG2E: tl.constexpr = 1.4426950408889634
    head = tl.program_id(0) % HEADS
    window = tl.program_id(1)
    top, left = window // COLUMNS * WINDOW_H, window % COLUMNS * WINDOW_W
    first_image = tl.program_id(2) * IMAGES
    # Of 64 bits: a batch of maps may have more numbers than 32 can count.
    qkv += first_image.to(tl.int64) * (MAP_H * MAP_W * 3 * CHANNELS)
    out += first_image.to(tl.int64) * (MAP_H * MAP_W * CHANNELS)
    queries = tl.program_id(0) // HEADS * BLOCK_M + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    in_head = dims < DEPTH
    query_place, query_inside = _place(queries, top, left, shift_h, shift_w, MAP_H, MAP_W, WINDOW_W)
    query_mask = ((queries < TOKENS) & query_inside)[:, None] & in_head[None, :]
    query_offset = query_place[:, None] * (3 * CHANNELS) + (head * DEPTH + dims)[None, :]
    out_offset = query_place[:, None] * CHANNELS + (head * DEPTH + dims)[None, :]
    bias += (tl.load(window_type + window) * HEADS + head) * (TOKENS * TOKENS)
    factor = LOG2E
    if COSINE:
        factor *= tl.load(scale + head).to(tl.float32)
    if BLOCK_N >= TOKENS:
        whole_bias = _bias(bias, queries, tl.arange(0, BLOCK_N), TOKENS)

    for image in tl.range(0, tl.minimum(IMAGES, batch - first_image)):
        tokens = qkv + image * (MAP_H * MAP_W * 3 * CHANNELS)
        q = tl.load(tokens + query_offset, mask=query_mask, other=0.0)  # (BLOCK_M, BLOCK_D)
        q_factor = tl.full((BLOCK_M,), factor, tl.float32)
        if COSINE:
            q_factor *= _inverse_norm(q, 1)
        greatest = tl.full((BLOCK_M,), float("-inf"), tl.float32)
        total = tl.zeros((BLOCK_M,), tl.float32)
        mixed = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
        for first_key in tl.range(0, TOKENS, BLOCK_N):
            keys = first_key + tl.arange(0, BLOCK_N)
            place, inside = _place(keys, top, left, shift_h, shift_w, MAP_H, MAP_W, WINDOW_W)
            mask = (keys < TOKENS) & inside
            k_offset = place[None, :] * (3 * CHANNELS) + (CHANNELS + head * DEPTH + dims)[:, None]
            v_offset = place[:, None] * (3 * CHANNELS) + (2 * CHANNELS + head * DEPTH + dims)[None, :]
            k = tl.load(tokens + k_offset, mask=mask[None, :] & in_head[:, None], other=0.0)  # (BLOCK_D, BLOCK_N)
            v = tl.load(tokens + v_offset, mask=mask[:, None] & in_head[None, :], other=0.0)  # (BLOCK_N, BLOCK_D)
            if PADDED:
                pad = pad_qkv + CHANNELS + head * DEPTH + dims
                k = tl.where(inside[None, :], k, tl.load(pad, mask=in_head, other=0.0)[:, None])
                v = tl.where(inside[:, None], v, tl.load(pad + CHANNELS, mask=in_head, other=0.0)[None, :])
            scores = tl.dot(q, k, input_precision=PRECISION) * q_factor[:, None]  # (BLOCK_M, BLOCK_N)
            if COSINE:
                # After the product and not before: q and k are then not rounded a second time.
                scores *= _inverse_norm(k, 0)[None, :]
            if BLOCK_N >= TOKENS:
                scores += whole_bias
            else:
                scores += _bias(bias, queries, keys, TOKENS)
            new_greatest = tl.maximum(greatest, tl.max(scores, 1))
            weights = tl.exp2(scores - new_greatest[:, None])
            if BLOCK_N >= TOKENS:
                total = tl.sum(weights, 1)
                mixed = tl.dot(weights.to(v.dtype), v, input_precision=PRECISION)
            else:
                kept = tl.exp2(greatest - new_greatest)
                total = total * kept + tl.sum(weights, 1)
                mixed = tl.dot(weights.to(v.dtype), v, mixed * kept[:, None], input_precision=PRECISION)
            greatest = new_greatest
        answer = (mixed / total[:, None]).to(out.dtype.element_ty)
        tl.store(out + image * (MAP_H * MAP_W * CHANNELS) + out_offset, answer, mask=query_mask)


@triton.jit
def _place(token, top, left, shift_h, shift_w, MAP_H: tl.constexpr, MAP_W: tl.constexpr, WINDOW_W: tl.constexpr):
    """Token of the window at (top, left) of the rolled map -> its place in the image, and whether it is no padding."""
    row, column = top + token // WINDOW_W, left + token % WINDOW_W
    inside = (row < MAP_H) & (column < MAP_W)
    row, column = row + shift_h, column + shift_w
    row = tl.where(row >= MAP_H, row - MAP_H, row)
    column = tl.where(column >= MAP_W, column - MAP_W, column)
    return row * MAP_W + column, inside


@triton.jit
def _bias(bias, queries, keys, TOKENS: tl.constexpr):
    """float32 (BLOCK_M, BLOCK_N), times log2(e); what is no key of the window weighs nothing."""
    is_key = (keys < TOKENS)[None, :]
    mask = (queries < TOKENS)[:, None] & is_key
    values = tl.load(bias + queries[:, None] * TOKENS + keys[None, :], mask=mask, other=0.0).to(tl.float32)
    return tl.where(is_key, values * 1.4426950408889634, float("-inf"))


@triton.jit
def _inverse_norm(vectors, axis: tl.constexpr):
    """1 / length, and for lengths near nothing what torch.nn.functional.normalize takes instead"""
    numbers = vectors.to(tl.float32)
    return 1.0 / tl.maximum(tl.sqrt(tl.sum(numbers * numbers, axis)), 1e-12)
