"""LitServe with our engine: a raw JPEG -> {label: score}; one worker, its batches formed by LitServe.

The type of `request` is FastAPI's for a raw body ("Request, response format": LitServe hands type hints on to it).
"""

import signal
from pathlib import Path
from typing import Annotated

import litserve
from fastapi import Body
from loadtests.peers.arguments import HOST, parse
from loadtests.peers.engine import Engine

BATCH_SIZE = 8
DELAY = 0.002  # seconds that the first image of a batch waits for others


class ImageClassifier(litserve.LitAPI):
    def __init__(self, folder: Path) -> None:
        super().__init__(max_batch_size=BATCH_SIZE, batch_timeout=DELAY)
        self.folder = folder

    def setup(self, device: str) -> None:
        self.engine = Engine(self.folder)

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]) -> bytes:
        return request

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return inputs

    def predict(self, x: list[bytes]) -> list[dict[str, float]]:
        return self.engine.classify(x)

    def unbatch(self, output: list[dict[str, float]]) -> list[dict[str, float]]:
        return output

    def encode_response(self, output):
        return output


if __name__ == "__main__":
    port, model = parse(__doc__)
    server = litserve.LitServer(ImageClassifier(model), workers_per_device=1, fast_queue=True)
    # On ctrl-C LitServe ends its processes; on SIGTERM it would leave them behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server.run(host=HOST, port=port, log_level="warning", generate_client_file=False)
