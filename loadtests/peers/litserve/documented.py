"""LitServe's own way: JSON {"image_data": base64} -> {label: score}, in batches that LitServe forms.

Nearest to a page on image classification: the classifier in LitServe's repository that it is measured by
(tests/parity_fastapi/ls-server.py), of version 0.2, with its numbers for a CPU: 2 workers, batches of up to 8, 10 ms of
delay, `fast_queue`, images decoded by a pool of threads. The methods are those of lightning.ai/docs/litserve,
"LitAPI" and "Batching".
"""

import base64
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import litserve
import torch
from loadtests.peers.arguments import HOST, parse
from loadtests.peers.stock import Stock


class ImageClassifier(litserve.LitAPI):
    def __init__(self, folder: Path) -> None:
        super().__init__(max_batch_size=8, batch_timeout=0.01)
        self.folder = folder

    def setup(self, device: str) -> None:
        self.stock = Stock(self.folder)
        self.pool = ThreadPoolExecutor(os.cpu_count())

    def decode_request(self, request):
        return request["image_data"]

    def batch(self, inputs: list[str]) -> torch.Tensor:
        return torch.stack(list(self.pool.map(lambda text: self.stock.prepare(base64.b64decode(text)), inputs)))

    def predict(self, x: torch.Tensor) -> list[dict[str, float]]:
        return self.stock.infer(x)

    def unbatch(self, output: list[dict[str, float]]) -> list[dict[str, float]]:
        return output

    def encode_response(self, output):
        return output


if __name__ == "__main__":
    port, model = parse(__doc__)
    server = litserve.LitServer(ImageClassifier(model), timeout=10, workers_per_device=2, fast_queue=True)
    # On ctrl-C LitServe ends its processes; on SIGTERM it would leave them behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server.run(host=HOST, port=port, log_level="warning", generate_client_file=False)
