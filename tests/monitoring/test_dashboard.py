"""The dashboard: its JSON is what its panels say, and Prometheus can read every query."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.promtool import DASHBOARD, ROOT, panels, promtool, queries


def test_the_committed_json_is_what_the_panels_say() -> None:
    command = [sys.executable, "-B", "-c", "import dashboard; print(dashboard.written(), end='')"]
    written = subprocess.run(command, cwd=DASHBOARD.parent, check=True, capture_output=True, text=True).stdout
    assert DASHBOARD.read_text() == written, "run python deploy/grafana/dashboard.py"


def parse(folder: Path, exprs: Iterable[str]) -> str:
    """promtool has no door for a lone query, but for a rule that records it."""
    recorded = [{"record": f"query:{number}", "expr": expr} for number, expr in enumerate(exprs)]
    path = folder / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": recorded}]}))
    return promtool("check", "rules", path)


def test_prometheus_can_read_every_query(tmp_path: Path) -> None:
    assert f"{len(queries())} rules found" in parse(tmp_path, queries().values())
    assert not [expr for expr in queries().values() if "$" in expr]


def test_prometheus_can_read_the_queries_of_the_documentation(tmp_path: Path) -> None:
    blocks = re.findall(r"```\n(# .*?)```", (ROOT / "docs" / "monitoring.md").read_text(), re.DOTALL)
    exprs = [line for line in "".join(blocks).splitlines() if not line.startswith("#")]
    assert f"{len(exprs)} rules found" in parse(tmp_path, exprs)
    assert len(exprs) > 2


def test_a_query_that_prometheus_cannot_read_would_be_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="could not parse expression"):
        parse(tmp_path, ["sum by (outcome (rate(swinserve_requests_total[5m]))"])


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_explains_itself_and_asks_the_chosen_datasource(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert {each["datasource"]["uid"] for each in panel["targets"]} == {"${datasource}"}


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_legend_names_the_labels_that_its_query_keeps(panel: dict[str, Any]) -> None:
    """Grafana shows curves without a name, or several of one name, otherwise."""
    for each in panel["targets"]:
        if kept := re.search(r"sum by \(([\w, ]+)\)", each["expr"]):
            wanted = set(kept[1].split(", ")) - ({"le"} if "histogram_quantile" in each["expr"] else set())
            assert set(re.findall(r"{{(\w+)}}", each["legendFormat"])) == wanted


def test_panels_stay_on_the_grid_and_cover_no_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
