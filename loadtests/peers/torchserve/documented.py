"""TorchServe's own way: its stock image_classifier handler on an archive made by torch-model-archiver, its defaults.

Documentation (0.12.0): pytorch.org/serve/getting_started.html and examples/image_classifier/resnet_18 (eager mode, a
model file, index_to_name.json); so one worker per CPU and batches of one. The handler resizes as it always does, to 256
bilinear, which is not timm's transform for this model. Beside the defaults: the ports, and token authorisation off.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from loadtests.peers.arguments import parse
from loadtests.peers.torchserve.launch import BIN, NAME, serve
from safetensors.torch import load_file


def archive(model: Path, folder: Path) -> None:
    """Packs the model into folder/store."""
    labels = (model / "labels.txt").read_text(encoding="utf-8").splitlines()
    (folder / "index_to_name.json").write_text(json.dumps({str(index): label for index, label in enumerate(labels)}))
    torch.save(load_file(model / "model.safetensors"), folder / "swin.pth")
    (folder / "store").mkdir()
    subprocess.run(
        [
            *(sys.executable, BIN / "torch-model-archiver", "--model-name", NAME, "--version", "1.0"),
            *("--model-file", Path(__file__).with_name("model.py"), "--serialized-file", folder / "swin.pth"),
            *("--handler", "image_classifier", "--extra-files", folder / "index_to_name.json"),
            *("--export-path", folder / "store"),
        ],
        check=True,
    )


if __name__ == "__main__":
    port, model = parse(__doc__)
    with tempfile.TemporaryDirectory(prefix="ts-") as scratch:
        archive(model, Path(scratch))
        serve(port, Path(scratch), f"{NAME}.mar")
