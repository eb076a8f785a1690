"""The real promtool, and what of the project it is asked about."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "swinserve.json"


def installed(program: str) -> str:
    """Its path; the test is skipped where there is none, but in CI."""
    if (found := shutil.which(program)) is None and not os.environ.get("CI"):
        pytest.skip(f"{program} is not installed (Debian: apt install prometheus)")
    return found or program


def promtool(*arguments: str | Path, stdin: str = "") -> str:
    """What it prints. Fails with that unless it is satisfied."""
    command = [installed("promtool"), *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def panels() -> list[dict[str, Any]]:
    """The dashboard's, without the titles of its rows."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def queries(rate_interval: str = "5m") -> dict[str, str]:
    """The dashboard's, by panel and letter, with the variables filled in as Grafana does for all models."""
    filled = {"$model": ".*", "$__rate_interval": rate_interval}
    found = {f"{panel['title']} {each['refId']}": each["expr"] for panel in panels() for each in panel["targets"]}
    for name, value in filled.items():
        found = {key: expr.replace(name, value) for key, expr in found.items()}
    return found
