"""PyTriton's own way: an image as a row of UINT8 over Triton's HTTP -> its five best labels and scores.

Documentation (0.7): triton-inference-server.github.io/pytriton, example huggingface_resnet_pytorch, with its numbers:
batches of up to 32, 5 ms of delay. Triton batches rows of equal length only, that is images of equal size in bytes.
"""

from __future__ import annotations

import numpy as np
from loadtests.peers.arguments import parse
from loadtests.peers.pytriton.launch import outputs, serve
from loadtests.peers.stock import Stock
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor

if __name__ == "__main__":
    port, model = parse(__doc__)
    stock = Stock(model)

    @batch
    def infer(image: np.ndarray) -> dict[str, np.ndarray]:
        return outputs(stock.classify([row.tobytes() for row in image]))

    delay = DynamicBatcher(max_queue_delay_microseconds=5000)
    tensor = Tensor(name="image", dtype=np.uint8, shape=(-1,))
    serve(port, infer, tensor, ModelConfig(max_batch_size=32, batcher=delay))
