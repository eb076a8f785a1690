"""docs/kubernetes.md and the end of the tutorial: their examples render and do what they say, the figures are those of
the CSV files named."""

from __future__ import annotations

import csv
import os
import re
import shutil
import statistics
import subprocess
from pathlib import Path

import pytest
import yaml
from deploy.k8s.render import COMPONENTS, HERE, OVERLAYS

from tests.deploy.manifests import Object, named, objects, of_kind, selects, serving, settings

ROOT = HERE.parents[1]
DOCUMENT = (ROOT / "docs" / "kubernetes.md").read_text()
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()


def example(folder: Path, name: str, document: str = DOCUMENT) -> list[Object]:
    """What the document's file `name` renders to."""
    if shutil.which("kubectl") is None and not os.environ.get("CI"):
        pytest.skip("kubectl is not installed")
    (block,) = re.findall(rf"```yaml\n# {name}\n(.*?)```", document, re.DOTALL)
    folder = folder.resolve()
    text = re.sub(r"(\.\./)+deploy", os.path.relpath(ROOT / "deploy", folder), block)
    (folder / "kustomization.yaml").write_text(text)
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def test_a_folder_of_ones_own_changes_image_and_settings_and_adds_components(tmp_path: Path) -> None:
    found = example(tmp_path, "my-service/kustomization.yaml")
    assert serving(found).container["image"] == "registry.example.com/swinserve:0.1.0-cpu"
    ours = settings(objects("cpu"))
    assert settings(found) == ours | {"SWINSERVE_QUEUE_SIZE": "256"}
    assert {"PodMonitor", "ScaledObject"} <= {each["kind"] for each in found}


def test_the_folder_of_the_tutorial_serves_the_model_of_the_tutorial(tmp_path: Path) -> None:
    found = example(tmp_path, "my-service/kustomization.yaml", TUTORIAL)
    assert serving(found).container["image"] == "registry.example.com/swinserve:even-or-odd"
    assert settings(found)["SWINSERVE_MODELS"] == "even_or_odd"


def test_a_canary_and_the_first_instance_do_not_select_each_other(tmp_path: Path) -> None:
    canary, first = example(tmp_path, "my-service/canary/kustomization.yaml"), objects("cpu+monitoring")
    for one, other in ((canary, first), (first, canary)):
        budget = of_kind(one, "PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"]
        selectors = [each["spec"]["selector"] for each in of_kind(one, "Service")]
        deployment = of_kind(one, "Deployment")[0]["spec"]["selector"]["matchLabels"]
        for selector in (budget, deployment, *selectors):
            assert selects(selector, serving(one).labels)
            assert not selects(selector, serving(other).labels)
    assert named(canary, "Service", "swinserve-canary")["spec"]["ports"][0]["port"] == 8000
    (monitor,) = of_kind(first, "PodMonitor")
    assert selects(monitor["spec"]["selector"]["matchLabels"], serving(canary).labels)
    assert serving(canary).container["image"].endswith(":0.2.0-cpu")


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_document_names_every_component_and_its_readme_exists(component: str) -> None:
    assert f"| [`{component}`](../deploy/k8s/components/{component}/README.md) |" in DOCUMENT
    assert (HERE / "components" / component / "README.md").read_text().startswith(f"# {component}\n")


def test_the_document_names_every_overlay() -> None:
    assert all(f"| `{overlay}` |" in DOCUMENT for overlay in OVERLAYS)


@pytest.mark.parametrize("load", ["32 callers", "8 callers", "70 % Poisson"])
def test_what_a_pod_answers_is_what_was_measured(load: str) -> None:
    with (ROOT / "loadtests" / "results" / "2026-11-22-amd-epyc-2-cores-serve.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if (row["side"], row["load"]) == ("gRPC", load)]
    assert len(rows) == 3

    def median(column: str) -> float:
        return statistics.median(float(row[column]) for row in rows)

    rate = median("images_per_second")
    figures = f"| {rate:.1f} | {rate / 2:.1f} | {median('p50_ms'):.0f} | {median('p99_ms'):.0f} |"
    assert figures in DOCUMENT.replace("*", "")
