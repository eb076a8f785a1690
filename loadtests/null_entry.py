"""A TorchServe handler that does almost nothing: it answers every job with class 0 without looking at its images.

`bench_gateway.py` puts it into an archive in place of the model, so that what is left is what serving costs.
"""

import os
import time

from swin_proto import CONTRACT_VERSION
from swin_proto.worker.v1.job_pb2 import Answer, Result, TopK


def handle(rows, context):  # type: ignore[no-untyped-def]  # TorchServe's signature
    if rows is None:
        return []
    answer = Answer(
        contract_version=CONTRACT_VERSION,
        results=[Result(top_k=TopK(indices=[0], scores=[1.0]))],
        entered_at=time.monotonic(),
        batch_size=len(rows),
        padded_size=len(rows),
        worker_pid=os.getpid(),
        backend="null",
        dtype="float32",
    ).SerializeToString()
    return [answer] * len(rows)
