"""Holds what Ray answered against what a running service answers to the same files, score by score.

    python deploy/ray/compare.py answers/ --server grpc://127.0.0.1:8001

Exit code 1 if any answer differs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from swinserve import Client, ImageResult

IMAGES_PER_CALL = 16


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("answers", metavar="ANSWERS")
    parser.add_argument("--server", default="grpc://127.0.0.1:8001")
    asked = parser.parse_args()
    rows = pq.read_table(asked.answers).to_pylist()
    differ = 0
    with Client(asked.server) as client:
        for row, served in _served(client, rows):
            ours = (row["reason"], row["labels"], row["scores"])
            if ours != (_reason(served), _labels(served), _scores(served)):
                differ += 1
                print(f"{row['path']}: Ray {ours}, the service {served}")
    refused = sum(row["error"] is not None for row in rows)
    print(f"{len(rows)} files, {refused} of them refused; {differ} answers differ")
    return int(differ > 0 or not rows)


def _served(client: Client, rows: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], ImageResult]]:
    for first in range(0, len(rows), IMAGES_PER_CALL):
        some = rows[first : first + IMAGES_PER_CALL]
        top_k = max(len(row["scores"] or ()) for row in some) or None
        answer = client.classify_many([Path(row["path"]) for row in some], top_k=top_k)
        yield from zip(some, answer.results, strict=True)


def _reason(result: ImageResult) -> str | None:
    return result.error.reason if result.error else None


def _labels(result: ImageResult) -> list[str] | None:
    return None if result.error else [prediction.label for prediction in result.predictions]


def _scores(result: ImageResult) -> list[float] | None:
    return None if result.error else [prediction.score for prediction in result.predictions]


if __name__ == "__main__":
    sys.exit(main())
