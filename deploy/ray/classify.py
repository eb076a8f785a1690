"""A folder of images -> Parquet, one row an image, by a pool of Ray actors that each hold the service's model archive.

    python deploy/ray/classify.py photos/ answers/ --archive model_store/swin_digits-1.0.mar --workers 2

IMAGES and ANSWERS may be whatever Ray Data reads and writes (s3://…). Rows: path, and either labels and scores, best
first, or the error of this image and its reason. ANSWERS must not be there yet.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray is imported

import pyarrow as pa
import ray

from swin_handler.errors import ImageError
from swin_handler.offline import OfflineModel
from swin_handler.result import Result

ROWS = pa.schema(
    {
        "path": pa.string(),
        "labels": pa.list_(pa.string()),
        "scores": pa.list_(pa.float32()),
        "reason": pa.string(),
        "error": pa.string(),
    }
)


class Classifier:
    """One actor: it loads the archive once, and then gets batch after batch."""

    def __init__(self, archive: str, *, top_k: int, threads: int, on_gpu: bool) -> None:
        """archive: its path, the same on every node"""
        self._model = OfflineModel(archive, threads=threads, gpu=0 if on_gpu else None)
        self._top_k = top_k

    def __call__(self, batch: pa.Table) -> pa.Table:
        results = self._model.classify(batch["bytes"].to_pylist(), top_k=self._top_k)
        rows = [
            {"path": path, **self._row(result)} for path, result in zip(batch["path"].to_pylist(), results, strict=True)
        ]
        return pa.Table.from_pylist(rows, schema=ROWS)

    def _row(self, result: Result) -> dict[str, Any]:
        if isinstance(result, ImageError):
            return {"reason": result.kind, "error": result.message}
        return {"labels": [self._model.labels[index] for index in result.indices], "scores": result.scores}


def main() -> None:
    asked = _arguments()
    # Loopback, no dashboard: a run on one machine is nobody else's business. A cluster that exists has its own mind.
    if asked.address:
        ray.init(address=asked.address)
    else:
        ray.init(include_dashboard=False, _node_ip_address="127.0.0.1")
    # Reading and writing wait for disks. If their tasks asked for CPUs that the actors have, nothing would ever begin.
    images = ray.data.read_binary_files(asked.images, include_paths=True, num_cpus=0, concurrency=2 * asked.workers)
    answers = images.map_batches(
        Classifier,
        fn_constructor_args=(str(asked.archive.resolve()),),
        fn_constructor_kwargs={"top_k": asked.top_k, "threads": asked.threads, "on_gpu": asked.gpus > 0},
        batch_format="pyarrow",
        batch_size=asked.batch_size,
        compute=ray.data.ActorPoolStrategy(size=asked.workers),
        num_cpus=asked.threads,
        num_gpus=asked.gpus,
    )
    # Ray would add to what is there, and rows of two runs would stand side by side.
    answers.write_parquet(asked.answers, mode=ray.data.SaveMode.ERROR, ray_remote_args={"num_cpus": 0})
    print(answers.stats() if asked.stats else f"written to {asked.answers}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", metavar="IMAGES")
    parser.add_argument("answers", metavar="ANSWERS")
    parser.add_argument("--archive", type=Path, required=True, help="the .mar file that `swinserve build` made")
    parser.add_argument("--workers", type=int, default=2, help="actors, each with a model of its own (default: 2)")
    parser.add_argument("--threads", type=int, default=1, help="CPUs of each actor (default: 1)")
    parser.add_argument("--gpus", type=float, default=0, help="of each actor; 1 for an archive of --device cuda")
    parser.add_argument("--batch-size", type=int, default=64, help="images that an actor gets at a time (default: 64)")
    parser.add_argument("--top-k", type=int, default=5)
    parser.add_argument("--address", help="of a Ray cluster, such as auto; default: one is started on this machine")
    parser.add_argument("--stats", action="store_true", help="print Ray's own account of the run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
