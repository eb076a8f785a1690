"""`make ray`: scikit-learn's digits as PNGs, and a broken one, by two Ray workers and by the service; all must agree.

Exit code 1 if an answer differs.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

FOLDER = Path(__file__).resolve().parent
STORE = FOLDER.parents[1] / "model_store"
EDGE = 64
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="swinserve-ray-") as scratch:
        images, answers = Path(scratch) / "images", Path(scratch) / "answers"
        _draw(images)
        started = time.monotonic()
        _run("classify.py", images, answers, "--archive", STORE / "swin_digits-1.0.mar", "--workers", "2")
        print(f"({time.monotonic() - started:.0f} s, Ray's own start included)")
        with _service() as url:
            return _run("compare.py", answers, "--server", url, check=False)


def _draw(folder: Path) -> None:
    folder.mkdir()
    digits = load_digits()
    for number, (ink, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        picture = Image.fromarray((ink * 255 / 16).astype("uint8"))
        picture.resize((EDGE, EDGE)).convert("RGB").save(folder / f"{number:04}-{digit}.png")
    whole = (folder / f"{0:04}-{digits.target[0]}.png").read_bytes()
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])


def _run(script: str, *arguments: str | Path, check: bool = True) -> int:
    print(f"\n$ python deploy/ray/{script} {' '.join(map(str, arguments))}", flush=True)
    return subprocess.run([sys.executable, FOLDER / script, *arguments], check=check).returncode


@contextmanager
def _service() -> Iterator[str]:
    """Its gRPC address, once it is ready."""
    ports = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
    command = ["swinserve", "serve", "swin_digits", "--model-store", STORE, *ports, "--log-level", "warning"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as service:
        try:
            assert service.stdout is not None
            announced = re.search(r"grpc://[\w.:]+", service.stdout.readline())  # printed when ready
            if announced is None:
                raise SystemExit("the service did not start")
            yield announced[0]
        finally:
            service.send_signal(signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
