"""A service of a script beside this -> `bentoml serve`, in the place of this process."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from loadtests.peers.arguments import HOST, Arguments


def serve(service: str, arguments: Arguments) -> None:
    """service: module:class"""
    environment = {
        **os.environ,
        "PEER_MODEL": str(arguments.model),
        "BENTOML_HOME": str(Path(tempfile.gettempdir()) / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    command = [sys.executable, "-m", "bentoml", "serve", service, "--working-dir", str(Path(__file__).parent)]
    os.execve(sys.executable, [*command, "--host", HOST, "--port", str(arguments.port)], environment)
