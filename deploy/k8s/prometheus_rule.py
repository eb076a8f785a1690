"""deploy/prometheus/rules.yaml -> the same rules as the Prometheus operator takes them.

`make manifests` runs it. A copy, because kustomize cannot put one YAML file into another; a test holds it to its
source.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

HERE = Path(__file__).resolve().parent
RULES = HERE.parent / "prometheus" / "rules.yaml"
COPY = HERE / "components" / "monitoring" / "prometheusrule.yaml"

HEADER = """\
# Written by deploy/k8s/prometheus_rule.py from deploy/prometheus/rules.yaml.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: swinserve
  labels:
    app.kubernetes.io/name: swinserve
spec:
"""


def written() -> str:
    return HEADER + textwrap.indent(RULES.read_text(), "  ")


if __name__ == "__main__":
    COPY.write_text(written())
