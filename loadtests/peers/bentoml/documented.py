"""BentoML's own way: an image in a form -> {label: score}, one at a time.

Documentation (1.4): docs.bentoml.com, "Define input and output types" (Images: PIL.Image.Image) and "Create online API
Services", with its defaults: one worker, one thread, adaptive batching off.
"""

from __future__ import annotations

import os
from pathlib import Path

import bentoml
from loadtests.peers.arguments import parse
from loadtests.peers.bentoml.launch import serve
from loadtests.peers.stock import Stock
from PIL.Image import Image


@bentoml.service
class Classifier:
    def __init__(self) -> None:
        self.stock = Stock(Path(os.environ["PEER_MODEL"]))

    @bentoml.api
    def classify(self, image: Image) -> dict[str, float]:
        return self.stock.infer(self.stock.transform(image.convert("RGB"))[None])[0]


if __name__ == "__main__":
    serve("documented:Classifier", parse(__doc__))
