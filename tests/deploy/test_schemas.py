"""Every combination is what two versions of Kubernetes, and the custom resources' own projects, take."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from deploy.k8s import prometheus_rule
from deploy.k8s.render import COMBINATIONS

from tests.deploy.manifests import Object, named, objects, of_kind, pods, serving

VERSIONS = ("1.32", "1.37")
"""The oldest that we promise, which is also KServe's, and the newest that the validator knows."""

CRDS = {path.stem: path for path in (Path(__file__).parent / "crds").glob("*.yaml")}


def check(each: Object, version: str) -> None:
    """Raises what the validator says is wrong. Fields that the schema does not know are."""
    if each["kind"] in CRDS:
        jsonschema.Draft202012Validator(yaml.safe_load(CRDS[each["kind"]].read_text())).validate(each)
    else:
        kubernetes_validate.validate(each, version, strict=True)


def embedded(found: list[Object]) -> list[Object]:
    """What is a part of custom resources and Kubernetes' own, as its own."""
    wrapped: list[Object] = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": each.name}, "spec": each.spec} for each in pods(found)
    ]
    for each in of_kind(found, "ScaledObject"):
        spec = each["spec"]
        target = {"scaleTargetRef": spec["scaleTargetRef"], "maxReplicas": spec["maxReplicaCount"]}
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]
        scaler = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "keda"}}
        wrapped.append(scaler | {"spec": target | behavior})
    return wrapped


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("combination", COMBINATIONS)
def test_every_object_is_what_its_schema_asks_for(combination: str, version: str) -> None:
    found = objects(combination)
    assert serving(found)
    for each in (*found, *embedded(found)):
        check(each, version)


@pytest.mark.parametrize(
    ("kind", "combination", "path", "value"),
    [
        ("Deployment", "cpu", ["template", "spec", "containers", 0, "livenessProb"], {}),
        ("Deployment", "cpu", ["template", "spec", "terminationGracePeriodSeconds"], "90 s"),
        ("Service", "cpu", ["ports", 0, "prot"], 1),
        ("PodMonitor", "cpu+monitoring", ["podMetricsEndpoints", 0, "intervall"], "15s"),
        ("PrometheusRule", "cpu+monitoring", ["groups", 0, "rules", 0, "for"], "2x"),
        ("ScaledObject", "cpu+autoscaling-keda", ["triggers", 0, "metadata", "metricName"], "queue"),
        ("HTTPRoute", "cpu+gateway-api", ["rules", 0, "timeouts", "request"], "65"),
        ("GRPCRoute", "cpu+gateway-api", ["rules", 0, "backendRefs", 0, "port"], "grpc"),
        ("InferenceService", "kserve", ["predictor", "container"], {}),
    ],
)
def test_a_misspelt_field_and_a_wrong_value_are_found(
    kind: str, combination: str, path: list[str | int], value: Any
) -> None:
    broken = copy.deepcopy(next(iter(of_kind(objects(combination), kind))))
    part = broken["spec"]
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(broken, VERSIONS[0])


def test_the_operators_rules_are_those_of_prometheus() -> None:
    assert prometheus_rule.COPY.read_text() == prometheus_rule.written(), "run make manifests"
    (rule,) = of_kind(objects("cpu+monitoring"), "PrometheusRule")
    assert rule["spec"] == yaml.safe_load(prometheus_rule.RULES.read_text())


def test_grafana_gets_the_dashboard_as_it_is() -> None:
    found = named(objects("cpu+monitoring"), "ConfigMap", "swinserve-dashboard")
    dashboard = prometheus_rule.HERE.parent / "grafana" / "swinserve.json"
    assert found["data"] == {"swinserve.json": dashboard.read_text()}
