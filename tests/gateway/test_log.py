"""In a process of its own, for logging is configured once and for all."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import logging, sys, structlog
from swin_gateway.log import configure_logging
log = structlog.get_logger("worker")
configure_logging("info", sys.argv[1])
log.debug("hidden")
log.info("job lost", request_id="r-1")
logging.getLogger("uvicorn").warning("theirs")
authorization = "Bearer secret"
try:
    1 / 0
except ZeroDivisionError:
    log.exception("bug")
"""


def lines(log_format: str) -> list[str]:
    result = subprocess.run([sys.executable, "-c", SCRIPT, log_format], capture_output=True, text=True, check=True)
    assert result.stdout == ""  # stdout is for answers
    return result.stderr.splitlines()


def test_away_from_a_terminal_every_line_is_json_ours_and_theirs() -> None:
    entries = [json.loads(line) for line in lines("auto")]
    assert [(entry["event"], entry["level"], entry["logger"]) for entry in entries] == [
        ("job lost", "info", "worker"),
        ("theirs", "warning", "uvicorn"),
        ("bug", "error", "worker"),
    ]
    assert entries[0]["request_id"] == "r-1"
    assert entries[0]["timestamp"].endswith("Z")
    assert "ZeroDivisionError" in entries[2]["exception"]


def test_for_people_it_can_be_plain_text() -> None:
    first, *rest = lines("console")
    assert "job lost" in first
    assert "request_id=r-1" in first
    assert "ZeroDivisionError" in "".join(rest)
    assert "Bearer secret" not in "".join(rest)
