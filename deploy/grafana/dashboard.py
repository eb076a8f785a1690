"""panels.py -> swinserve.json, Grafana's dashboard: `python deploy/grafana/dashboard.py` rewrites it.

A table of ours instead of grafana-foundation-sdk: the JSON has one shape per kind of panel, and this is all of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from panels import ROWS, Panel

TARGET = Path(__file__).with_name("swinserve.json")
PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}
HEIGHT = 8  # of a panel; a row's title has 1
FORMATS = {"timeseries": "time_series", "heatmap": "heatmap", "table": "table"}


def dashboard() -> dict[str, Any]:
    return {
        "uid": "swinserve",
        "title": "Swinserve",
        "description": "Image classification with Swin Transformers. docs/monitoring.md explains it.",
        "tags": ["swinserve"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,  # one crosshair over all panels
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_datasource(), _model()]},
        "panels": _panels(),
    }


def placed() -> list[tuple[str | Panel, dict[str, int]]]:
    """Titles of rows, and panels below them, each with its gridPos: x, y, w, h on a grid 24 wide."""
    found: list[tuple[str | Panel, dict[str, int]]] = []
    top = 0
    for title, panels in ROWS.items():
        found.append((title, {"x": 0, "y": top, "w": 24, "h": 1}))
        left, top = 0, top + 1
        for panel in panels:
            if left + panel.width > 24:
                left, top = 0, top + HEIGHT
            found.append((panel, {"x": left, "y": top, "w": panel.width, "h": HEIGHT}))
            left += panel.width
        top += HEIGHT
    return found


def _panels() -> list[dict[str, Any]]:
    return [
        {"id": number, "gridPos": place, **(_row(what) if isinstance(what, str) else _panel(what))}
        for number, (what, place) in enumerate(placed(), 1)
    ]


def _row(title: str) -> dict[str, Any]:
    return {"type": "row", "title": title, "collapsed": False, "panels": []}


def _panel(panel: Panel) -> dict[str, Any]:
    # Grafana calls its first query A.
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": PROMETHEUS,
            "expr": query.expr,
            "legendFormat": query.legend or "__auto",
            "format": FORMATS[panel.kind],
            "range": panel.kind != "table",
            "instant": panel.kind == "table",
        }
        for number, query in enumerate(panel.queries)
    ]
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": PROMETHEUS,
        "targets": targets,
        **_LOOKS[panel.kind](panel),
    }


def _timeseries(panel: Panel) -> dict[str, Any]:
    custom = {
        "fillOpacity": 30 if panel.stacked else 8,
        "showPoints": "never",
        "stacking": {"mode": "normal" if panel.stacked else "none"},
    }
    return {
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def _heatmap(panel: Panel) -> dict[str, Any]:
    return {
        "fieldConfig": {"defaults": {}, "overrides": []},
        "options": {
            "calculate": False,  # the buckets are Prometheus's
            "yAxis": {"unit": panel.unit},
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5},
            "cellGap": 1,
            "filterValues": {"le": 1e-9},
            "tooltip": {"mode": "single", "yHistogram": True},
        },
    }


def _table(_: Panel) -> dict[str, Any]:
    hidden = {"Time": True, "Value": True, "__name__": True, "job": True}
    return {
        "fieldConfig": {"defaults": {}, "overrides": []},
        "options": {"showHeader": True},
        "transformations": [{"id": "organize", "options": {"excludeByName": hidden}}],
    }


_LOOKS = {"timeseries": _timeseries, "heatmap": _heatmap, "table": _table}


def _datasource() -> dict[str, Any]:
    return {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus", "current": {}}


def _model() -> dict[str, Any]:
    return {
        "type": "query",
        "name": "model",
        "label": "Model",
        "datasource": PROMETHEUS,
        "query": {"query": "label_values(swinserve_model_ready, model)", "refId": "model"},
        "refresh": 2,  # when the time range changes
        "includeAll": True,
        "allValue": ".*",  # also the empty one, of calls that found no model
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def written() -> str:
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    TARGET.write_text(written())
