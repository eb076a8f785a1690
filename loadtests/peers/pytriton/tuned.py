"""PyTriton with our engine: an image as one BYTES element, so that images of any size share Triton's batches."""

from __future__ import annotations

import numpy as np
from loadtests.peers.arguments import parse
from loadtests.peers.engine import Engine
from loadtests.peers.pytriton.launch import outputs, serve
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor

if __name__ == "__main__":
    port, model = parse(__doc__)
    engine = Engine(model)

    @batch
    def infer(image: np.ndarray) -> dict[str, np.ndarray]:
        return outputs(engine.classify(list(image[:, 0])))

    delay = DynamicBatcher(max_queue_delay_microseconds=2000)
    tensor = Tensor(name="image", dtype=bytes, shape=(1,))
    serve(port, infer, tensor, ModelConfig(max_batch_size=8, batcher=delay))
