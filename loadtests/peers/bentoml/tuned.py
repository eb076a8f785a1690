"""BentoML with our engine: a file in a form -> [{label: score}]; one worker, its batches formed by BentoML.

A batchable method takes lists only, so a request is a list of one file. `max_latency_ms` is not a delay: BentoML
refuses what it expects to take longer, and finds the delay out by itself.
"""

from __future__ import annotations

import os
from pathlib import Path

import bentoml
from loadtests.peers.arguments import parse
from loadtests.peers.bentoml.launch import serve
from loadtests.peers.engine import Engine


@bentoml.service(
    workers=1,
    threads=1,
    traffic={"timeout": 60},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class Classifier:
    def __init__(self) -> None:
        self.engine = Engine(Path(os.environ["PEER_MODEL"]))

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=8, max_latency_ms=60_000)
    def classify(self, images: list[Path]) -> list[dict[str, float]]:
        return self.engine.classify([image.read_bytes() for image in images])


if __name__ == "__main__":
    serve("tuned:Classifier", parse(__doc__))
