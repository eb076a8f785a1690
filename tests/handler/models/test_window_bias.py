"""Relative position bias and shift mask, against what the papers print and timm's own buffers."""

from __future__ import annotations

import pytest
import timm
import torch

from swin_handler.models.window_bias import cosine_table, merged


def test_a_window_of_two_by_two_reads_its_table_as_the_reference_does() -> None:
    rows_of_the_table = torch.arange(9.0)[:, None]
    bias, window_type = merged(rows_of_the_table, (4, 4), (2, 2), (0, 0))
    assert bias.tolist() == [[[[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]]]
    assert window_type.tolist() == [0, 0, 0, 0]


def test_windows_of_a_rolled_map_part_what_came_from_different_sides() -> None:
    """A 4×4 map in windows of 2×2, rolled by one: as in the reference, nothing, columns, rows, all but the diagonal."""
    bias, window_type = merged(torch.zeros(9, 1), (4, 4), (2, 2), (1, 1))
    columns = [[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]]
    rows = [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]
    either = [[0, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]]
    expected = -100.0 * torch.tensor([[[0] * 4] * 4, columns, rows, either])
    assert torch.equal(bias[window_type, 0], expected)


@pytest.mark.parametrize(
    ("size", "window", "shift", "types"),
    [
        ((56, 56), 7, (3, 3), 4),
        ((56, 56), 7, (0, 0), 1),
        ((14, 7), 7, (3, 0), 2),
        ((7, 21), 7, (0, 3), 2),
        ((20, 11), 4, (2, 2), 4),
        ((9, 9), 8, (4, 4), 4),
        ((5, 5), 8, (4, 4), 1),
    ],
)
def test_few_masks_serve_all_windows_and_are_those_of_timm(
    size: tuple[int, int], window: int, shift: tuple[int, int], types: int
) -> None:
    from timm.models.swin_transformer import SwinTransformerBlock

    block = SwinTransformerBlock(
        8, input_resolution=size, window_size=window, shift_size=shift, num_heads=1, always_partition=True
    )
    bias, window_type = merged(torch.zeros((2 * window - 1) ** 2, 1), size, (window, window), shift)
    assert len(bias) == types
    assert set(window_type.tolist()) == set(range(types))
    theirs = torch.zeros(len(window_type), *bias.shape[2:]) if block.attn_mask is None else block.attn_mask
    assert torch.equal(bias[window_type, 0], theirs)


@pytest.mark.parametrize("pretrained", [0, 4, 12])
@torch.no_grad()
def test_the_table_of_cosine_attention_is_timms_to_the_bit(pretrained: int) -> None:
    torch.manual_seed(3)
    model = timm.create_model(
        "swinv2_tiny_window8_256", img_size=64, depths=[1] * 4, pretrained_window_sizes=[pretrained] * 4
    )
    attention = model.layers[0].blocks[0].attn
    theirs = 16 * torch.sigmoid(attention.cpb_mlp(attention.relative_coords_table).view(-1, attention.num_heads))
    assert torch.equal(cosine_table(attention), theirs)
