"""What this machine is, as far as compiled files and timings depend on it."""

from __future__ import annotations

import torch

from swin_handler.engine import cpu
from swin_handler.tuning import Machine


def current(device: torch.device, threads: int) -> Machine:
    """threads: of one forward pass"""
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu.features()
    return Machine(device=device.type, hardware=hardware, torch=torch.__version__, threads=threads)
