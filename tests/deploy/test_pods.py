"""What the pods are: settings, probes, times, what they may use and what they must not be allowed."""

from __future__ import annotations

import re

import pytest

import swinserve
from swin_gateway.http_server import CLOSE_SECONDS
from swin_gateway.ports import CUT_SECONDS
from swin_gateway.settings import PREFIX, ServeSettings
from swin_gateway.torchserve import END_SECONDS, PUMP_SECONDS
from swin_gateway.tracing import FLUSH_SECONDS
from tests.deploy.manifests import Object, named, objects, of_kind, pods, serving, settings

MIB = 2**20
ENDING_SECONDS = CUT_SECONDS + 2 * CLOSE_SECONDS + END_SECONDS + PUMP_SECONDS + FLUSH_SECONDS
"""What is late is cut, the REST and the metrics port close, TorchServe ends, its output is read, spans are sent."""
RESTING_MIB = 80 + 180 + 830
"""Gateway, JVM and worker of Swin-T: loadtests/results, memory and overload."""


def parsed(found: list[Object], monkeypatch: pytest.MonkeyPatch) -> ServeSettings:
    """The settings as the service would read them from its environment."""
    for name, value in settings(found).items():
        monkeypatch.setenv(name, value)
    return ServeSettings.load({})


def mib(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]


def test_every_setting_is_one_that_the_service_knows(found: list[Object], monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings(found)
    read = parsed(found, monkeypatch)
    assert {PREFIX + name.upper() for name in read.model_fields_set} == set(given)


def test_the_container_has_the_ports_that_its_settings_open(
    found: list[Object], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = parsed(found, monkeypatch)
    ports = {each["name"]: each["containerPort"] for each in serving(found).container["ports"]}
    assert ports == {"http": read.http_port, "grpc": read.grpc_port, "metrics": read.metrics_port}
    assert read.host in ("0.0.0.0", "::")


def test_probes_ask_what_they_are_for_on_a_port_that_exists(found: list[Object]) -> None:
    container = serving(found).container
    ports = {each["name"] for each in container["ports"]}
    probes = {name: container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")}
    assert all(probe["httpGet"]["port"] in ports for probe in probes.values())
    paths = {name: probe["httpGet"]["path"] for name, probe in probes.items()}
    assert paths == {"startup": "/livez", "readiness": "/readyz", "liveness": "/livez"}


def test_a_pod_has_the_time_to_drain_and_no_call_may_take_longer_than_a_drain(
    found: list[Object], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = parsed(found, monkeypatch)
    pod = serving(found)
    hook = pod.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    needed = hook + read.drain_grace + read.drain_timeout + ENDING_SECONDS
    assert pod.spec["terminationGracePeriodSeconds"] > needed
    assert read.max_timeout <= read.drain_timeout


@pytest.mark.parametrize("found", ["cpu", "gpu"], indirect=True)
def test_a_rollout_waits_longer_than_a_start_may_take(found: list[Object], monkeypatch: pytest.MonkeyPatch) -> None:
    spec = named(found, "Deployment", "swinserve")["spec"]
    assert spec["progressDeadlineSeconds"] > parsed(found, monkeypatch).start_timeout + spec["minReadySeconds"]


def test_the_memory_limit_holds_what_the_limits_on_requests_allow(
    found: list[Object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At rest, the rest of the heap, bytes that wait, those of silent streams, what is being decoded."""
    read = parsed(found, monkeypatch)
    waiting = 2 * read.max_pending_bytes // MIB
    most = RESTING_MIB + read.java_heap_mb + waiting + read.decode_memory_mb
    resources = serving(found).container["resources"]
    assert mib(resources["limits"]["memory"]) >= most
    assert resources["requests"]["memory"] == resources["limits"]["memory"]


@pytest.mark.parametrize("found", ["cpu", "kserve"], indirect=True)
def test_on_cpus_the_limit_says_how_many_threads_to_compute_with(found: list[Object]) -> None:
    resources = serving(found).container["resources"]
    assert resources["limits"]["cpu"] == resources["requests"]["cpu"]
    assert int(resources["limits"]["cpu"]) >= 1


@pytest.mark.parametrize("found", ["gpu", "cpu+gpu"], indirect=True)
def test_a_gpu_pod_asks_for_one_gpu_tolerates_its_node_and_is_not_throttled(found: list[Object]) -> None:
    pod = serving(found)
    limits = pod.container["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "1"
    assert "cpu" not in limits
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod.spec["tolerations"]
    assert pod.container["image"].endswith("-cuda")


def test_volumes_and_mounts_are_the_same(found: list[Object]) -> None:
    for pod in pods(found):
        mounts = {each["name"] for each in pod.container["volumeMounts"]}
        assert mounts == {each["name"] for each in pod.spec["volumes"]}
        assert {each["mountPath"] for each in pod.container["volumeMounts"]} == {"/tmp"}


def test_pods_meet_the_restricted_standard_and_more(found: list[Object]) -> None:
    for pod in pods(found):
        assert pod.spec["automountServiceAccountToken"] is False
        assert pod.spec["enableServiceLinks"] is False
        context = pod.spec["securityContext"]
        assert context["runAsNonRoot"]
        assert context["runAsUser"] == context["runAsGroup"] == 10001
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod.container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    (namespace,) = of_kind(found, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_images_have_this_projects_version_as_their_tag(found: list[Object]) -> None:
    for pod in pods(found):
        _, _, tag = pod.container["image"].partition(":")
        assert tag.partition("-")[0] == swinserve.__version__


@pytest.mark.parametrize("found", ["kserve"], indirect=True)
def test_kserve_runs_the_deployments_container_under_its_own_name(found: list[Object]) -> None:
    theirs, ours = serving(found), serving(objects("cpu"))
    assert theirs.container == ours.container | {"name": "kserve-container"}
    for field in ("volumes", "securityContext", "terminationGracePeriodSeconds", "serviceAccountName"):
        assert theirs.spec[field] == ours.spec[field]


@pytest.mark.parametrize("found", ["cpu", "gpu", "kserve"], indirect=True)
def test_pods_spread_over_nodes_and_zones(found: list[Object]) -> None:
    pod = serving(found)
    constraints = pod.spec["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in constraints] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    assert all(each["labelSelector"]["matchLabels"].items() <= pod.labels.items() for each in constraints)
