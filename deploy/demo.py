"""`make demo`: start the service on free ports, classify the sample images over gRPC and REST, print the answers, stop.

Ends with 0 only if both protocols named every sample right and the service drained cleanly.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = sorted(path.relative_to(ROOT) for path in (ROOT / "model_store" / "swin_digits" / "samples").iterdir())
SWINSERVE = Path(sys.executable).with_name("swinserve")
SERVE = [SWINSERVE, "serve", "swin_digits", "--model-store", ROOT / "model_store", "--log-level", "warning"]
FREE_PORTS = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]


def classify(url: str) -> list[str]:
    """Prints the table that people see and returns the label of each sample, in order."""
    print(f"\n$ swinserve classify model_store/swin_digits/samples/* --server {url}", flush=True)
    command = [SWINSERVE, "classify", *SAMPLES, "--server", url, "--top-k", "1"]
    subprocess.run(command, check=True, cwd=ROOT)
    answers = subprocess.run([*command, "--json"], check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line)["predictions"][0]["label"] for line in answers.splitlines()]


def main() -> int:
    """The exit code. A sample's file name starts with its label."""
    started = time.monotonic()
    print(f"$ swinserve serve swin_digits {' '.join(FREE_PORTS)}", flush=True)
    with subprocess.Popen([*SERVE, *FREE_PORTS, "--drain-grace", "0"], stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout is not None
            line = service.stdout.readline().rstrip()  # printed when ready; empty when the service ended instead
            if not line:
                return service.wait()
            print(f"{line}\n(ready after {time.monotonic() - started:.1f} s)")
            right = [path.name.split("-")[0] for path in SAMPLES]
            urls = re.findall(r"(?:grpc|http)://[\w.:]+(?= )", line)
            wrong = [url for url in urls if classify(url) != right]
        finally:
            service.send_signal(signal.SIGTERM)
    print(f"\nThe service drained and ended with {service.returncode}; {time.monotonic() - started:.1f} s in all.")
    if wrong:
        print(f"Not every sample was named right over {', '.join(wrong)}.")
    return service.returncode or int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
