"""FastAPI's own way: one file of a form -> {label: score}, in a plain `def`, which FastAPI runs in its thread pool.

Documentation (0.165): fastapi.tiangolo.com/tutorial/request-files (UploadFile), /reference/uploadfile (`.file` in a
plain `def`), /async (a plain `def` for what blocks; machine learning is bound by the CPU), /deployment/manually
(uvicorn, one process). It shows no batching.
"""

from __future__ import annotations

from pathlib import Path

import uvicorn
from fastapi import FastAPI, UploadFile
from loadtests.peers.arguments import HOST, parse
from loadtests.peers.stock import Stock


def application(folder: Path) -> FastAPI:
    app, stock = FastAPI(), Stock(folder)

    @app.post("/predict")
    def predict(file: UploadFile) -> dict[str, float]:
        return stock.classify([file.file.read()])[0]

    return app


if __name__ == "__main__":
    port, model = parse(__doc__)
    uvicorn.run(application(model), host=HOST, port=port)
