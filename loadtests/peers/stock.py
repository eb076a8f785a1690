"""Inside of the documented servers: bytes of an image -> float32 (3, 224, 224) -> {label: score}, the five best.

Pillow, timm's own model and evaluation transform, float32, eager; runs in the peer's environment.
"""

from __future__ import annotations

import io
from pathlib import Path

import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from timm.data import create_transform, resolve_model_data_config

ARCHITECTURE = "swin_tiny_patch4_window7_224"
TOP_K = 5


class Stock:
    def __init__(self, folder: Path) -> None:
        self.model = timm.create_model(ARCHITECTURE, pretrained=False).eval()
        self.model.load_state_dict(load_file(folder / "model.safetensors"))
        self.transform = create_transform(**resolve_model_data_config(self.model), is_training=False)
        self.labels = (folder / "labels.txt").read_text(encoding="utf-8").splitlines()

    def prepare(self, image: bytes) -> torch.Tensor:
        return self.transform(Image.open(io.BytesIO(image)).convert("RGB"))

    def infer(self, pixels: torch.Tensor) -> list[dict[str, float]]:
        """pixels: (B, 3, 224, 224)"""
        with torch.inference_mode():
            scores, indices = self.model(pixels).softmax(dim=1).topk(TOP_K)
        return [
            {self.labels[index]: score for index, score in zip(*row, strict=True)}
            for row in zip(indices.tolist(), scores.tolist(), strict=True)
        ]

    def classify(self, images: list[bytes]) -> list[dict[str, float]]:
        return self.infer(torch.stack([self.prepare(image) for image in images]))
