"""Any bytes -> how the gateway's header check and the worker's decoder end, within bounds; anything else raises."""

from __future__ import annotations

import time
import warnings

import torch

from swin_gateway.errors import ServingError
from swin_gateway.images import HeaderCheck
from swin_handler.config import FORMATS
from swin_handler.decode import Decoder
from swin_handler.errors import ImageError
from swin_handler.limits import Limits
from swin_handler.memory import MemoryBudget

EDGE = 32
MAX_PIXELS = 1_000_000
CPU_SECONDS = 2.0
CONFIG = {
    "input_size": (3, EDGE, EDGE),
    "interpolation": "bicubic",
    "crop_pct": 0.9,
    "crop_mode": "center",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}
_GRACE_SECONDS = 3.0
"""What the decoder cannot interrupt, a resize or a scan, of a million pixels."""

_check = HeaderCheck(max_bytes=2**20, max_pixels=MAX_PIXELS, formats=FORMATS)
LIMITS = Limits(max_frames=10, seconds=CPU_SECONDS, memory=MemoryBudget(64 * 2**20))
_decoders = [Decoder(CONFIG, max_pixels=MAX_PIXELS, scaled=scaled, limits=LIMITS) for scaled in (True, False)]


def outcome(content: bytes) -> str:
    """decoded, or the kind of the decoder's error."""
    began = time.thread_time()
    try:
        _check(content)
    except ServingError as error:
        assert error.message
        assert error.http < 500
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of damaged metadata, and goes on
        ends = {_decoded(decoder, content) for decoder in _decoders}
    assert time.thread_time() - began < 2 * (CPU_SECONDS + _GRACE_SECONDS)
    return min(ends)


def _decoded(decoder: Decoder, content: bytes) -> str:
    try:
        pixels = decoder(content).pixels
    except ImageError as error:
        assert error.message
        return error.kind
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (EDGE, EDGE, 3)
    return "decoded"
