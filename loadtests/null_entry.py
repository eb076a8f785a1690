"""A TorchServe handler that does almost nothing: it answers every image with class 0 without looking at it.

`bench_gateway.py` and `bench_serve.py` put it into an archive in place of the model, so that what is left is what
serving costs.
"""

import os
import time

from swin_proto import CONTRACT_VERSION
from swin_proto.worker.v1.job_pb2 import Answer, Job, Result, TopK


def handle(rows, context):  # type: ignore[no-untyped-def]  # TorchServe's signature
    if rows is None:
        return []
    entered_at = time.monotonic()
    jobs = [Job.FromString(bytes(row["job"] if "job" in row else row["body"])) for row in rows]
    counts = [len(job.images) + len(job.shared_images) for job in jobs]
    return [_answer(count, entered_at, sum(counts)) for count in counts]


def _answer(images, entered_at, batch_size):  # type: ignore[no-untyped-def]  # plain, like its caller
    return Answer(
        contract_version=CONTRACT_VERSION,
        results=[Result(top_k=TopK(indices=[0], scores=[1.0]))] * images,
        entered_at=entered_at,
        batch_size=batch_size,
        padded_size=batch_size,
        worker_pid=os.getpid(),
        backend="null",
        dtype="float32",
    ).SerializeToString()
