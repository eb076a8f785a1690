"""TorchServe with our engine, and nothing in front of it: our own archive, a raw JPEG -> {label: score} over REST.

The archive's model-config.yaml has one worker, batches of up to 8, 1 ms of delay (0 would mean 100). Logging is down to
warnings: by default TorchServe writes several lines for each request (docs/logging.md).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from loadtests.peers.arguments import parse
from loadtests.peers.torchserve.launch import NAME, serve

LOG4J = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="error">
  <Appenders><Console name="out" target="SYSTEM_OUT"><PatternLayout pattern="%p %c %m%n"/></Console></Appenders>
  <Loggers><Root level="warn"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"""
PROPERTIES = """disable_system_metrics=true
decode_input_request=false
number_of_netty_threads=2
netty_client_threads=1
"""

if __name__ == "__main__":
    port, model = parse(__doc__)
    with tempfile.TemporaryDirectory(prefix="ts-") as scratch:
        folder = Path(scratch)
        (folder / "store").mkdir()
        (folder / "store" / NAME).symlink_to(model / "archive")
        (folder / "log4j2.xml").write_text(LOG4J)
        serve(port, folder, NAME, options=("--log-config", str(folder / "log4j2.xml")), properties=PROPERTIES)
