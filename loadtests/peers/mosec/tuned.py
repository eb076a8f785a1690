"""mosec with our engine: a raw JPEG -> {label: score}; one stage in one process, its batches formed by mosec."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from loadtests.peers.arguments import HOST, parse
from loadtests.peers.engine import Engine
from mosec import Server, Worker

BATCH_SIZE = 8
DELAY = 2  # milliseconds that the first image of a batch waits for others
PATIENCE = 30_000  # milliseconds a request may take, before mosec gives it up


class Inference(Worker):
    def __init__(self) -> None:
        self.engine = Engine(Path(os.environ["PEER_MODEL"]))

    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: list[bytes]) -> list[dict[str, float]]:
        return self.engine.classify(data)


if __name__ == "__main__":
    _, model = parse(__doc__)
    os.environ["PEER_MODEL"] = str(model)
    sys.argv += ["--address", HOST, "--timeout", str(PATIENCE)]  # where mosec reads its options from, and the port
    server = Server()
    server.append_worker(Inference, max_batch_size=BATCH_SIZE, max_wait_time=DELAY)
    server.run()
