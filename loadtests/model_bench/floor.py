"""The floor: the matrix products of a model alone, at its own shapes, as fast as PyTorch's libraries do them.

A model that keeps all of its products and does everything else for nothing is as fast as this.
"""

from __future__ import annotations

import torch

from .contender import Call, Contender, Setting
from .products import products
from .shapes import shapes
from .subject import Subject

FLOOR = "floor"


def _make(subject: Subject, setting: Setting) -> Call:
    size = subject.data_config["input_size"]
    all_of = products(shapes(subject.name, subject.batch, size), setting.dtype)

    @torch.inference_mode()
    def call() -> torch.Tensor:
        for product in all_of:
            product()
        return subject.expected

    call()
    return call


CONTENDERS = (Contender(FLOOR, _make, checked=False),)
