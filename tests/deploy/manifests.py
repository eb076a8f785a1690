"""What a cluster would get of each combination, as objects, and the pods that would come of them."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from deploy.k8s.render import COMBINATIONS, rendered

Object = dict[str, Any]

POD_FIELDS = {
    *("containers", "volumes", "securityContext", "serviceAccountName", "automountServiceAccountToken"),
    *("enableServiceLinks", "terminationGracePeriodSeconds", "topologySpreadConstraints"),
}
"""Those of an InferenceService's predictor that are a pod's."""


@functools.cache
def _objects(combination: str) -> list[Object]:
    return [each for each in yaml.safe_load_all(rendered(*COMBINATIONS[combination])) if each]


def objects(combination: str) -> list[Object]:
    """The test is skipped where there is no kubectl, but in CI."""
    if shutil.which("kubectl") is None and not os.environ.get("CI"):
        pytest.skip("kubectl is not installed")
    return _objects(combination)


def of_kind(found: list[Object], *kinds: str) -> list[Object]:
    return [each for each in found if each["kind"] in kinds]


def named(found: list[Object], kind: str, name: str) -> Object:
    (one,) = [each for each in of_kind(found, kind) if each["metadata"]["name"] == name]
    return one


@dataclass(frozen=True)
class Pods:
    """What one object makes pods of."""

    name: str
    labels: dict[str, str]
    spec: Object

    @property
    def container(self) -> Object:
        (only,) = self.spec["containers"]
        return only

    @property
    def serves(self) -> bool:
        return self.labels["app.kubernetes.io/name"] == "swinserve"


def pods(found: list[Object]) -> Iterator[Pods]:
    for each in of_kind(found, "Deployment", "Job"):
        template = each["spec"]["template"]
        yield Pods(each["metadata"]["name"], template["metadata"]["labels"], template["spec"])
    for each in of_kind(found, "InferenceService"):
        predictor = each["spec"]["predictor"]
        spec = {field: value for field, value in predictor.items() if field in POD_FIELDS}
        yield Pods(each["metadata"]["name"], predictor["labels"], spec)


def serving(found: list[Object]) -> Pods:
    """The pods of the service."""
    (only,) = [each for each in pods(found) if each.serves]
    return only


def settings(found: list[Object]) -> dict[str, str]:
    """The service's environment, from the ConfigMaps that its container names."""
    names = [each["configMapRef"]["name"] for each in serving(found).container["envFrom"]]
    return {key: value for name in names for key, value in named(found, "ConfigMap", name)["data"].items()}


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()
