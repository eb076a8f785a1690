"""Who reaches what: selectors, ports, policies and routes."""

from __future__ import annotations

from typing import Any

import pytest

from swin_gateway.settings import ServeSettings
from tests.deploy.manifests import Object, Pods, named, objects, of_kind, pods, selects, serving, settings

CLUSTER_WIDE = {"Namespace"}


def ports_of(pod: Pods) -> dict[str, int]:
    return {each["name"]: each["containerPort"] for each in pod.container.get("ports", [])}


def selected(found: list[Object], selector: dict[str, str]) -> list[Pods]:
    return [each for each in pods(found) if selects(selector, each.labels)]


def let_in(found: list[Object], **who: Any) -> set[str]:
    """The service's ports that policies open to peers of this kind, by namespaceSelector or podSelector."""
    labels = serving(found).labels
    rules = [
        rule
        for each in of_kind(found, "NetworkPolicy")
        if selects(each["spec"]["podSelector"]["matchLabels"], labels)
        for rule in each["spec"]["ingress"]
    ]
    return {port["port"] for rule in rules if who in rule["from"] for port in rule["ports"]}


def namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def test_everything_is_in_one_namespace(found: list[Object]) -> None:
    (name,) = [each["metadata"]["name"] for each in of_kind(found, "Namespace")]
    assert {each["metadata"]["namespace"] for each in found if each["kind"] not in CLUSTER_WIDE} == {name}


def test_services_lead_to_ports_of_pods(found: list[Object]) -> None:
    for service in of_kind(found, "Service"):
        (pod,) = selected(found, service["spec"]["selector"])
        for port in service["spec"]["ports"]:
            assert ports_of(pod)[port["targetPort"]] == port["port"]


def test_grpc_clients_in_the_cluster_find_every_pod(found: list[Object]) -> None:
    service = named(found, "Service", "swinserve-grpc")["spec"]
    assert service["clusterIP"] == "None"
    assert selects(service["selector"], serving(found).labels)
    assert [each["appProtocol"] for each in service["ports"]] == ["kubernetes.io/h2c"]


@pytest.mark.parametrize("found", ["cpu", "gpu"], indirect=True)
def test_a_deployment_owns_the_pods_of_its_template(found: list[Object]) -> None:
    spec = named(found, "Deployment", "swinserve")["spec"]
    assert selects(spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"])


def test_budget_and_policies_are_about_the_services_pods_alone(found: list[Object]) -> None:
    budget = [each["spec"]["selector"]["matchLabels"] for each in of_kind(found, "PodDisruptionBudget")]
    policies = [each["spec"]["podSelector"]["matchLabels"] for each in of_kind(found, "NetworkPolicy")]
    assert len(budget) == 1
    assert policies
    for selector in (*budget, *policies):
        assert [each.serves for each in selected(found, selector)] == [True]


def test_policies_name_ports_that_exist(found: list[Object]) -> None:
    ports = set(ports_of(serving(found)))
    for each in of_kind(found, "NetworkPolicy"):
        assert {port["port"] for rule in each["spec"]["ingress"] for port in rule["ports"]} <= ports


def test_the_service_calls_nobody_and_only_its_namespace_calls_it_unless_a_component_says_so(
    found: list[Object],
) -> None:
    policy = named(found, "NetworkPolicy", "swinserve")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert not policy["egress"]
    assert let_in(found, podSelector={}) == {"http", "grpc"}
    kinds = {each["kind"] for each in found}
    assert let_in(found, **namespace("monitoring")) == ({"metrics"} if "PodMonitor" in kinds else set())
    assert let_in(found, **namespace("gateway-system")) == ({"http", "grpc"} if "HTTPRoute" in kinds else set())


@pytest.mark.parametrize("found", ["cpu+monitoring"], indirect=True)
def test_prometheus_scrapes_a_port_that_exists(found: list[Object]) -> None:
    (monitor,) = of_kind(found, "PodMonitor")
    assert selects(monitor["spec"]["selector"]["matchLabels"], serving(found).labels)
    assert [each["port"] for each in monitor["spec"]["podMetricsEndpoints"]] == ["metrics"]


@pytest.mark.parametrize("found", ["cpu+gateway-api"], indirect=True)
def test_routes_lead_to_ports_of_the_service_by_host_names_of_their_own(found: list[Object]) -> None:
    ports = {each["port"]: each["name"] for each in named(found, "Service", "swinserve")["spec"]["ports"]}
    leads_to = {}
    hosts: list[str] = []
    for route in of_kind(found, "HTTPRoute", "GRPCRoute"):
        (rule,) = route["spec"]["rules"]
        (backend,) = rule["backendRefs"]
        assert backend["name"] == "swinserve"
        leads_to[route["kind"]] = ports[backend["port"]]
        hosts += route["spec"]["hostnames"]
    assert leads_to == {"HTTPRoute": "http", "GRPCRoute": "grpc"}
    assert len(set(hosts)) == len(hosts) == 2


@pytest.mark.parametrize("found", ["cpu+gateway-api", "kserve"], indirect=True)
def test_a_proxy_waits_longer_than_any_call_may_take(found: list[Object], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings(found).items():
        monkeypatch.setenv(name, value)
    longest = ServeSettings.load({}).max_timeout
    waits = [each["spec"]["rules"][0]["timeouts"]["request"] for each in of_kind(found, "HTTPRoute")]
    waits += [each["spec"]["predictor"]["timeout"] for each in of_kind(found, "InferenceService")]
    assert len(waits) == 1
    assert float(str(waits[0]).removesuffix("s")) > longest


def test_no_configmap_is_named_that_does_not_exist(found: list[Object]) -> None:
    """Its name carries a hash of the settings, so that a change of them is a rollout; KServe's kind has to be told."""
    names = {each["metadata"]["name"] for each in of_kind(found, "ConfigMap")}
    (named_there,) = [each["configMapRef"]["name"] for each in serving(found).container["envFrom"]]
    assert named_there in names
    assert named_there.startswith("swinserve-")


def test_the_service_account_is_there_and_has_no_token(found: list[Object]) -> None:
    account = named(found, "ServiceAccount", serving(found).spec["serviceAccountName"])
    assert account["automountServiceAccountToken"] is False
    assert not of_kind(objects("cpu"), "RoleBinding", "ClusterRoleBinding")
