"""A real Prometheus that scrapes one service every second, with our rules; what the e2e tests ask it."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.running import get, status, until
from tests.monitoring.promtool import RULES, installed

START_SECONDS = 60.0


class Prometheus:
    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series that `expr` gives now, each with `metric` (its labels) and `value` (time and text)."""
        return self._api("query", query=expr)["result"]

    def rules(self) -> list[dict[str, Any]]:
        """As Prometheus sees them: `name`, `type`, `health`, `lastError`, `lastEvaluation`, and the alerts' `state`."""
        return [rule for group in self._api("rules")["groups"] for rule in group["rules"]]

    def _api(self, what: str, **parameters: str) -> Any:
        answer = json.loads(get(f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"))
        assert answer["status"] == "success", answer
        return answer["data"]


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    """One that is ready, on loopback, its data in `folder`; ended at the end."""
    configuration = folder / "prometheus.yaml"
    configuration.write_text(yaml.safe_dump(configured(target)))
    address = f"127.0.0.1:{free_port()}"
    command = [
        installed("prometheus"),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    log = folder / "log"
    with log.open("wb") as err, subprocess.Popen(command, stdout=err, stderr=err) as process:
        try:
            until(lambda: process.poll() is not None or status(f"http://{address}/-/ready") == 200, START_SECONDS)
            assert process.poll() is None, log.read_text()
            yield Prometheus(f"http://{address}")
        finally:
            process.kill()


def configured(target: str) -> dict[str, Any]:
    """The configuration that people start from, in a hurry and with another target."""
    found: dict[str, Any] = yaml.safe_load(RULES.with_name("prometheus.yaml").read_text())
    (scrape,) = found["scrape_configs"]
    scrape["static_configs"][0]["targets"] = [target]
    return found | {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
