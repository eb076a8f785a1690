"""docs/kubernetes.md and the end of the tutorial: their examples render and do what they say, and what a pod answers is
in the CSV files named."""

from __future__ import annotations

import csv
import math
import os
import re
import shutil
import statistics
import subprocess
from pathlib import Path

import pytest
import yaml
from deploy.k8s.render import COMPONENTS, HERE, OVERLAYS

import swinserve
from swin_gateway.settings import ServeSettings
from tests.deploy.manifests import Object, named, objects, of_kind, pods, selects, serving, settings
from tests.deploy.test_schemas import VERSIONS, check

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


def test_a_guarded_service_is_known_as_such_to_all_that_speak_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = example(tmp_path, "my-service/guarded/kustomization.yaml")
    for each in found:
        check(each, VERSIONS[0])
    pod = serving(found)
    for name, value in settings(found).items():
        monkeypatch.setenv(name, value)
    read = ServeSettings.load({})
    (mount,) = [each for each in pod.container["volumeMounts"] if each["name"] == "access"]
    (volume,) = [each for each in pod.spec["volumes"] if each["name"] == "access"]
    assert volume["secret"]
    for file in (read.token_file, read.tls_cert, read.tls_key):
        assert str(file.parent) == mount["mountPath"]
    probes = [pod.container[f"{name}Probe"]["httpGet"]["scheme"] for name in ("startup", "readiness", "liveness")]
    assert probes == ["HTTPS"] * 3
    ports = [port for each in of_kind(found, "Service") for port in each["spec"]["ports"]]
    assert {port["appProtocol"] for port in ports} == {"https"}
    (endpoint,) = of_kind(found, "PodMonitor")[0]["spec"]["podMetricsEndpoints"]
    assert endpoint["scheme"] == "https"
    assert endpoint["authorization"]["credentials"]["name"] != volume["secret"]["secretName"], "pods need no such token"


def test_a_load_test_of_ones_own_takes_its_image_from_ones_registry(tmp_path: Path) -> None:
    (tmp_path / "my-service").mkdir()
    example(tmp_path / "my-service", "my-service/kustomization.yaml")
    (tmp_path / "my-loadtest").mkdir()
    readme = (HERE / "components" / "loadtest" / "README.md").read_text()
    found = example(tmp_path / "my-loadtest", "my-loadtest/kustomization.yaml", readme)
    images = {pod.name: pod.container["image"] for pod in pods(found)}
    assert images.pop("swinserve").startswith("registry.example.com/swinserve:")
    assert set(images.values()) == {f"registry.example.com/swinserve-load:{swinserve.__version__}"}


def test_a_canary_is_the_first_instance_but_for_its_tag(tmp_path: Path) -> None:
    (tmp_path / "canary").mkdir()
    first = example(tmp_path, "my-service/kustomization.yaml")
    canary = example(tmp_path / "canary", "my-service/canary/kustomization.yaml")
    names = [serving(each).container["image"].rpartition(":")[0] for each in (first, canary)]
    assert names[0] == names[1]
    assert settings(first) == settings(canary)


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


RESULTS = ROOT / "loadtests" / "results"
MEASURED = RESULTS / "2026-11-22-amd-epyc-2-cores-serve.csv"
ENGINES = RESULTS / "2026-11-21-amd-epyc-2-cores-torch2.14.1-model-quick.csv"
OTHERS = RESULTS / "2026-11-21-amd-epyc-2-cores-torch2.14.1-model-swinv2-and-base.csv"
FIGURES = DOCUMENT.replace("*", "")


def median(file: Path, column: str, **of: str) -> float:
    """Of the column, over the rows that have these values."""
    with file.open() as lines:
        rows = [row for row in csv.DictReader(lines) if of.items() <= row.items()]
    assert len(rows) >= 3
    return statistics.median(float(row[column]) for row in rows)


@pytest.mark.parametrize("load", ["32 callers", "8 callers", "70 % Poisson"])
def test_what_a_pod_answers_is_what_was_measured(load: str) -> None:
    rate, p50, p99 = (
        median(MEASURED, column, side="gRPC", load=load) for column in ("images_per_second", "p50_ms", "p99_ms")
    )
    assert f"| {rate:.1f} | {rate / 2:.1f} | {p50:.0f} | {p99:.0f} |" in FIGURES


def engine(file: Path, model: str, dtype: str) -> float:
    """Images a second of our engine, in batches of 8."""
    return 8 / median(file, "seconds", group=f"{model} {dtype} batch 8", contender="ours, native")


@pytest.mark.parametrize(
    ("name", "file", "model", "dtype"),
    [
        ("Swin-T, bfloat16", ENGINES, "swin_tiny", "bfloat16"),
        ("Swin-T, int8", ENGINES, "swin_tiny", "int8"),
        ("Swin-T, float32", ENGINES, "swin_tiny", "float32"),
        ("SwinV2-T at 256, bfloat16", OTHERS, "swinv2_tiny", "bfloat16"),
        ("Swin-B, bfloat16", OTHERS, "swin_base", "bfloat16"),
    ],
)
def test_what_other_models_need_is_reckoned_from_what_was_measured(
    name: str, file: Path, model: str, dtype: str
) -> None:
    measured = median(MEASURED, "images_per_second", side="gRPC", load="32 callers")
    around = 1 / measured - 1 / engine(ENGINES, "swin_tiny", "bfloat16")
    alone = engine(file, model, dtype)
    served = 1 / (1 / alone + around)
    pods = math.ceil(300 / (0.7 * served)) + 1
    exact = name == "Swin-T, bfloat16"
    figures = f"{served:.1f} (measured) | {0.7 * served:.1f}" if exact else f"{served:.0f} | {0.7 * served:.0f}"
    assert f"| {name} | {alone:.1f} | {figures} | {pods} |" in FIGURES
