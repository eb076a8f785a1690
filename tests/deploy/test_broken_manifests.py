"""The checks of the other files find what they are for: each is given manifests with one fault."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable

import pytest

from tests.deploy import test_network, test_pods, test_scaling
from tests.deploy.manifests import Object, named, objects, of_kind, serving

Breaking = Callable[[list[Object]], object]


def setting(found: list[Object], name: str, value: str) -> None:
    of_kind(found, "ConfigMap")[0]["data"][name] = value


FAULTS: dict[str, tuple[Callable[..., None], str, Breaking]] = {
    "too little grace": (
        test_pods.test_a_pod_has_the_time_to_drain_and_no_call_may_take_longer_than_a_drain,
        "cpu",
        lambda found: serving(found).spec.update(terminationGracePeriodSeconds=80),
    ),
    "a hook that eats the grace": (
        test_pods.test_a_pod_has_the_time_to_drain_and_no_call_may_take_longer_than_a_drain,
        "cpu",
        lambda found: serving(found).container.update(lifecycle={"preStop": {"sleep": {"seconds": 15}}}),
    ),
    "a call longer than a drain": (
        test_pods.test_a_pod_has_the_time_to_drain_and_no_call_may_take_longer_than_a_drain,
        "cpu",
        lambda found: setting(found, "SWINSERVE_MAX_TIMEOUT", "120"),
    ),
    "a misspelt setting": (
        test_pods.test_every_setting_is_one_that_the_service_knows,
        "cpu",
        lambda found: setting(found, "SWINSERVE_DRAIN_GRACES", "5"),
    ),
    "a setting out of range": (
        test_pods.test_every_setting_is_one_that_the_service_knows,
        "cpu",
        lambda found: setting(found, "SWINSERVE_HTTP_PORT", "80000"),
    ),
    "another port": (
        test_pods.test_the_container_has_the_ports_that_its_settings_open,
        "cpu",
        lambda found: setting(found, "SWINSERVE_GRPC_PORT", "9001"),
    ),
    "a probe of no port": (
        test_pods.test_probes_ask_what_they_are_for_on_a_port_that_exists,
        "cpu",
        lambda found: serving(found).container["readinessProbe"]["httpGet"].update(port="metric"),
    ),
    "readiness by liveness": (
        test_pods.test_probes_ask_what_they_are_for_on_a_port_that_exists,
        "cpu",
        lambda found: serving(found).container["readinessProbe"]["httpGet"].update(path="/livez"),
    ),
    "more in flight than memory": (
        test_pods.test_the_memory_limit_holds_what_the_limits_on_requests_allow,
        "cpu",
        lambda found: setting(found, "SWINSERVE_MAX_PENDING_BYTES", str(2**30)),
    ),
    "a volume that nobody mounts": (
        test_pods.test_volumes_and_mounts_are_the_same,
        "cpu",
        lambda found: serving(found).spec["volumes"].append({"name": "cache", "emptyDir": {}}),
    ),
    "a writable root": (
        test_pods.test_pods_meet_the_restricted_standard_and_more,
        "cpu",
        lambda found: serving(found).container["securityContext"].update(readOnlyRootFilesystem=False),
    ),
    "a service that selects nothing": (
        test_network.test_services_lead_to_ports_of_pods,
        "cpu",
        lambda found: named(found, "Service", "swinserve")["spec"].update(selector={"app": "swinserve"}),
    ),
    "a budget that counts load generators": (
        test_network.test_budget_and_policies_are_about_the_services_pods_alone,
        "cpu+loadtest",
        lambda found: of_kind(found, "PodDisruptionBudget")[0]["spec"]["selector"].update(matchLabels={}),
    ),
    "metrics open to all of the namespace": (
        test_network.test_the_service_calls_nobody_and_only_its_namespace_calls_it_unless_a_component_says_so,
        "cpu",
        lambda found: of_kind(found, "NetworkPolicy")[0]["spec"]["ingress"][0]["ports"].append({"port": "metrics"}),
    ),
    "a name without its hash": (
        test_network.test_no_configmap_is_named_that_does_not_exist,
        "kserve",
        lambda found: of_kind(found, "ConfigMap")[0]["metadata"].update(name="swinserve"),
    ),
    "routes of one host name": (
        test_network.test_routes_lead_to_ports_of_the_service_by_host_names_of_their_own,
        "cpu+gateway-api",
        lambda found: of_kind(found, "GRPCRoute")[0]["spec"].update(hostnames=["swinserve.example.com"]),
    ),
    "fewest above most": (
        test_scaling.test_there_are_always_two_pods_so_that_one_may_go,
        "cpu+autoscaling-cpu",
        lambda found: of_kind(found, "HorizontalPodAutoscaler")[0]["spec"].update(minReplicas=9),
    ),
    "a budget that holds up every drain": (
        test_scaling.test_there_are_always_two_pods_so_that_one_may_go,
        "cpu",
        lambda found: named(found, "Deployment", "swinserve")["spec"].update(replicas=1),
    ),
    "a scaled deployment with a number of its own": (
        test_scaling.test_an_autoscaler_scales_the_deployment_and_no_file_holds_it_down,
        "cpu+autoscaling-keda",
        lambda found: named(found, "Deployment", "swinserve")["spec"].update(replicas=2),
    ),
    "utilisation of nothing requested": (
        test_scaling.test_the_hpa_measures_a_container_that_requests_what_is_measured,
        "cpu+autoscaling-cpu",
        lambda found: serving(found).container["resources"]["requests"].pop("cpu"),
    ),
    "a master that waits for more workers than come": (
        test_scaling.test_locust_waits_for_its_workers_and_they_find_it_and_the_service,
        "cpu+loadtest",
        lambda found: named(found, "Job", "swinserve-load-workers")["spec"].update(parallelism=1),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check, combination, breaking = FAULTS[fault]
    given = {"found": copy.deepcopy(objects(combination)), "monkeypatch": monkeypatch}
    asked = {name: given[name] for name in inspect.signature(check).parameters}
    check(**asked)
    breaking(given["found"])
    with pytest.raises((AssertionError, ValueError)):
        check(**asked)
