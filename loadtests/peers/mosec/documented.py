"""mosec's own way: msgpack {"image": bytes} -> preprocessing, inference and postprocessing in processes of their own.

Documentation (0.9): mosecorg.github.io/mosec/examples/pytorch.html, "Image Recognition" (examples/resnet50_msgpack),
with its numbers: 4 processes for preprocessing, 2 for inference in batches of up to 16, 1 for postprocessing, each with
mosec's and torch's own defaults. The answer is JSON, mosec's default, so that every peer's is read alike.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from loadtests.peers.arguments import HOST, parse
from loadtests.peers.stock import Stock
from mosec import Server, Worker
from mosec.mixin import MsgpackMixin

BATCH_SIZE = 16


def stock() -> Stock:
    return Stock(Path(os.environ["PEER_MODEL"]))


class Preprocess(MsgpackMixin, Worker):
    def __init__(self) -> None:
        self.stock = stock()

    def forward(self, data: dict[str, bytes]) -> torch.Tensor:
        return self.stock.prepare(data["image"])


class Inference(Worker):
    def __init__(self) -> None:
        self.stock = stock()

    def forward(self, data: list[torch.Tensor]) -> list[dict[str, float]]:
        return self.stock.infer(torch.stack(data))


class Postprocess(Worker):
    def forward(self, data: dict[str, float]) -> dict[str, float]:
        return data


if __name__ == "__main__":
    _, model = parse(__doc__)
    os.environ["PEER_MODEL"] = str(model)
    sys.argv += ["--address", HOST]  # mosec reads the rest of its options, and the port, from there
    server = Server()
    server.append_worker(Preprocess, num=4)
    server.append_worker(Inference, num=2, max_batch_size=BATCH_SIZE)
    server.append_worker(Postprocess, num=1)
    server.run()
