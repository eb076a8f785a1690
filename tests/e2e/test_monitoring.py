"""A real Prometheus beside a real service: what dashboard and rules ask for is there, and no alert is raised."""

from __future__ import annotations

import contextlib
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.callers import calling
from tests.e2e.prometheus import Prometheus, prometheus
from tests.e2e.running import Running, get, until
from tests.monitoring.promtool import DASHBOARD, promtool, queries, rules

PATIENCE = 90.0  # seconds; what is waited for comes within ten
HISTOGRAM = re.compile("_(bucket|sum|count)$")


ASKED = queries(rate_interval="5s") | {
    **{rule["record"]: rule["record"] for rule in rules() if "record" in rule},
    **{
        f"{slo} over {window}": f'swinserve:slo_errors:ratio{window}{{slo="{slo}"}} >= 0 <= 1'
        for slo in ("calls", "images", "latency")
        for window in ("5m", "30m", "1h", "6h", "3d")
    },
}


@pytest.fixture(scope="module")
def watched(shared: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with prometheus(tmp_path_factory.mktemp("prometheus"), urlsplit(shared.metrics).netloc) as found:
        yield found


@pytest.fixture(scope="module")
def untold(shared: Running, watched: Prometheus, digit: Path) -> set[str]:
    """Of ASKED, what gave no number under a little load."""
    untold = set(ASKED)

    def all_told() -> bool:
        untold.difference_update([name for name in untold if told(watched, ASKED[name])])
        return not untold

    with calling(shared.grpc, shared.http, image=digit, count=1) as both, contextlib.suppress(AssertionError):
        until(all_told, PATIENCE, every=0.5)
    assert {name for callers in both for name in callers.outcomes} == {"right"}
    return untold


def told(found: Prometheus, expr: str) -> bool:
    """Whether a series comes with a number; nothing divided by nothing is none."""
    return any(not math.isnan(float(each["value"][1])) for each in found.query(expr))


@pytest.mark.parametrize("name", ASKED)
def test_a_query_of_the_dashboard_or_the_rules_returns_data(untold: set[str], name: str) -> None:
    assert name not in untold, ASKED[name]


def test_no_alert_is_raised_by_a_service_that_serves(watched: Prometheus, untold: set[str]) -> None:
    """But perhaps the one on latency: a slow machine is no fault."""
    assert untold == set()
    until(lambda: all(not rule["lastEvaluation"].startswith("0001") for rule in watched.rules()), PATIENCE)
    assert not [rule for rule in watched.rules() if rule["health"] != "ok"]
    assert watched.query('ALERTS{slo!="latency"}') == []


def families(metrics: str) -> dict[str, str]:
    """Name -> type, of everything that the service tells about."""
    return dict(line.split()[2:4] for line in metrics.splitlines() if line.startswith("# TYPE"))


def test_every_metric_that_is_asked_for_exists(shared: Running) -> None:
    there = families(get(shared.metrics))
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    exprs = [*queries().values(), *(rule["expr"] for rule in rules())]
    asked = {name for expr in exprs for name in re.findall(r"\b(?:swinserve|process)[_:][\w:]+", expr)}
    assert len(asked) > 20
    for name in asked:
        plain = HISTOGRAM.sub("", name)
        assert name in recorded or name in there or there.get(plain) == "histogram", name


@pytest.mark.usefixtures("untold")  # after the load, so that every family has its series
def test_promtool_finds_no_fault_with_the_metrics(shared: Running) -> None:
    assert promtool("check", "metrics", stdin=get(shared.metrics)) == ""


@pytest.mark.usefixtures("untold")
def test_the_dashboard_can_be_drawn_without_grafana(watched: Prometheus, tmp_path: Path) -> None:
    picture = tmp_path / "dashboard.png"
    script = DASHBOARD.with_name("draw.py")
    command = [sys.executable, "-B", script, watched.url, picture, "--minutes", "1", "--rate-interval", "5s"]
    subprocess.run(command, check=True)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 10_000
