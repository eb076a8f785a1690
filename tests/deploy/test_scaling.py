"""Autoscalers, the disruption budget, and the load test that tries them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from swin_gateway.metrics import Metrics
from tests.deploy.manifests import Object, named, of_kind, pods, selects, serving
from tests.monitoring.promtool import ROOT, promtool

SCALED = ["cpu+autoscaling-cpu", "cpu+autoscaling-keda"]


def bounds(found: list[Object]) -> tuple[int, int]:
    """Fewest and most pods."""
    for each in of_kind(found, "HorizontalPodAutoscaler"):
        return each["spec"]["minReplicas"], each["spec"]["maxReplicas"]
    for each in of_kind(found, "ScaledObject"):
        return each["spec"]["minReplicaCount"], each["spec"]["maxReplicaCount"]
    for each in of_kind(found, "InferenceService"):
        return each["spec"]["predictor"]["minReplicas"], each["spec"]["predictor"]["maxReplicas"]
    replicas = named(found, "Deployment", "swinserve")["spec"]["replicas"]
    return replicas, replicas


def test_there_are_always_two_pods_so_that_one_may_go(found: list[Object]) -> None:
    fewest, most = bounds(found)
    (budget,) = of_kind(found, "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] < fewest <= most


@pytest.mark.parametrize("found", SCALED, indirect=True)
def test_an_autoscaler_scales_the_deployment_and_no_file_holds_it_down(found: list[Object]) -> None:
    (scaler,) = of_kind(found, "HorizontalPodAutoscaler", "ScaledObject")
    target = scaler["spec"]["scaleTargetRef"]
    deployment = named(found, target["kind"], target["name"])
    assert deployment["apiVersion"] == target["apiVersion"]
    assert "replicas" not in deployment["spec"]
    fewest, most = bounds(found)
    assert 2 <= fewest < most


@pytest.mark.parametrize("found", ["cpu+autoscaling-cpu"], indirect=True)
def test_the_hpa_measures_a_container_that_requests_what_is_measured(found: list[Object]) -> None:
    (metric,) = named(found, "HorizontalPodAutoscaler", "swinserve")["spec"]["metrics"]
    measured, container = metric["containerResource"], serving(found).container
    assert measured["container"] == container["name"]
    assert measured["name"] in container["resources"]["requests"]
    assert 50 <= measured["target"]["averageUtilization"] < 90


@pytest.mark.parametrize("found", SCALED, indirect=True)
def test_pods_come_fast_and_go_slowly(found: list[Object]) -> None:
    (scaler,) = of_kind(found, "HorizontalPodAutoscaler", "ScaledObject")
    keda = scaler["spec"].get("advanced", {}).get("horizontalPodAutoscalerConfig", {})
    behavior = scaler["spec"].get("behavior") or keda["behavior"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= 300
    assert [each["type"] for each in behavior["scaleDown"]["policies"]] == ["Pods"]


@pytest.mark.parametrize("found", ["cpu+autoscaling-keda"], indirect=True)
def test_keda_asks_prometheus_for_series_that_the_service_has(found: list[Object], tmp_path: Path) -> None:
    spec = named(found, "ScaledObject", "swinserve")["spec"]
    (trigger,) = spec["triggers"]
    query = trigger["metadata"]["query"]
    rules = tmp_path / "rules.yaml"
    rules.write_text(f"groups: [{{name: keda, rules: [{{record: keda, expr: {query!r}}}]}}]")
    assert "1 rules found" in promtool("check", "rules", rules)
    ours = {family.name for family in Metrics().registry.collect()}
    asked = set(re.findall(r"\bswinserve_\w+", query))
    assert asked == {"swinserve_queue_images", "swinserve_dispatched_images"}
    assert asked <= ours
    (namespace,) = of_kind(found, "Namespace")
    assert set(re.findall(r'namespace="([^"]*)"', query)) == {namespace["metadata"]["name"]}
    assert trigger["metadata"]["ignoreNullValues"] == "false", "no series would count as no load"
    fewest, most = bounds(found)
    assert fewest <= spec["fallback"]["replicas"] <= most


def arguments(found: list[Object], name: str) -> dict[str, str]:
    (pod,) = [each for each in pods(found) if each.name == name]
    return {key: value for key, _, value in (each.partition("=") for each in pod.container["args"])}


@pytest.mark.parametrize("found", ["cpu+loadtest"], indirect=True)
def test_locust_waits_for_its_workers_and_they_find_it_and_the_service(found: list[Object]) -> None:
    master, workers = (arguments(found, f"swinserve-load-{each}") for each in ("master", "workers"))
    job = named(found, "Job", "swinserve-load-workers")["spec"]
    assert int(master["--expect-workers"]) == job["parallelism"] == job["completions"]
    meeting = named(found, "Service", workers["--master-host"])["spec"]
    (pod,) = [each for each in pods(found) if each.name == "swinserve-load-master"]
    assert selects(meeting["selector"], pod.labels)
    assert set(workers) == {"--worker", "--master-host"}, "Locust's master overrides what workers are given"
    for url in (master["--host"], master["--grpc-url"]):
        name, _, port = url.partition("://")[2].partition(":")
        assert int(port) in {each["port"] for each in named(found, "Service", name)["spec"]["ports"]}
    assert (ROOT / master["--slo"]).is_file()


@pytest.mark.parametrize("found", ["cpu+loadtest"], indirect=True)
def test_the_real_locust_takes_the_arguments_of_its_pods(found: list[Object]) -> None:
    """It reads all of them before it lists its users and ends."""
    for pod in (each for each in pods(found) if not each.serves):
        command = [sys.executable, "-m", "locust", "--locustfile", "loadtests/locustfile.py", *pod.container["args"]]
        listed = subprocess.run([*command, "--list"], cwd=ROOT, capture_output=True, text=True)
        assert listed.returncode == 0, listed.stderr
        assert "GrpcUser" in listed.stdout
