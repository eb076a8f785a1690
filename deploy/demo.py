"""`make demo`: start the service on free ports, classify the sample images over gRPC and REST, print the answers, stop.

Ends with 0 only if both protocols named every sample right and the service drained cleanly.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = Path("model_store") / "swin_digits" / "samples"
SERVE = "swinserve serve swin_digits --model-store model_store --http-port 0 --grpc-port 0 --metrics-port 0"
QUIET = " --log-level warning --drain-grace 0"
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def shown(command: str) -> str:
    """Prints the command as it will run."""
    print(f"\n$ {command}", flush=True)
    return command


def classify(url: str, names: list[Path]) -> list[str]:
    """Prints the table that people see and returns the label of each sample, in order."""
    command = shown(f"swinserve classify {SAMPLES}/* --top-k 1 --server {url}")
    words = [*shlex.split(command.replace(f"{SAMPLES}/*", " ".join(map(str, names))))]
    subprocess.run(words, check=True, cwd=ROOT, env=ENVIRONMENT)
    lines = subprocess.run([*words, "--json"], check=True, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE).stdout
    return [json.loads(line)["predictions"][0]["label"] for line in lines.splitlines()]


def main() -> int:
    """The exit code. A sample's file name starts with its label."""
    names = sorted(path.relative_to(ROOT) for path in (ROOT / SAMPLES).iterdir())
    started = time.monotonic()
    command = shlex.split(shown(SERVE + QUIET))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=ENVIRONMENT) as service:
        try:
            assert service.stdout is not None
            line = service.stdout.readline().rstrip()  # printed when ready; empty when the service ended instead
            if not line:
                return service.wait()
            print(f"{line}\n(ready after {time.monotonic() - started:.1f} s)")
            right = [path.name.split("-")[0] for path in names]
            urls = re.findall(r"(?:grpc|http)://[\w.:]+(?= )", line)
            wrong = [url for url in reversed(urls) if classify(url, names) != right]
        finally:
            service.send_signal(signal.SIGTERM)
    print(f"\nThe service drained and ended with {service.returncode}; {time.monotonic() - started:.1f} s in all.")
    if wrong:
        print(f"Not every sample was named right over {', '.join(wrong)}.")
    print("To use it yourself: source .venv/bin/activate; swinserve --help")
    return service.returncode or int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
