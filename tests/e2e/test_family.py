"""Every family, and the baselines, built by the real command and served at once by one real service."""

from __future__ import annotations

import base64
import json
import math
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import timm
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image

from tests.e2e.reflected import ReflectedClient
from tests.e2e.running import SWINSERVE, Running, curl, service

# Eleven archives are built and eleven workers started, for the first test. Each model by itself is in tests/handler.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CLASSIFY = "swinserve.v1.Classifier/Classify"
INPUT_AND_MAP = {
    "swin_tiny_patch4_window7_224": (224, 7),
    "swin_base_patch4_window7_224": (224, 7),
    "swinv2_tiny_window8_256": (256, 8),
    "shunted_tiny": (224, 7),
    "resnet50": (224, 7),
    "vit_small_patch16_224": (224, 0),
    "deit_tiny_patch16_224": (224, 0),
    "pvt_v2_b0": (224, 7),
    "convnext_atto": (224, 0),
}
"""Built with random weights: side of the input, and of the class activation map (0: it has none)."""
TREES = ["ash", "birch", "cedar"]


def build(store: Path, *arguments: str | Path) -> None:
    command = [SWINSERVE, "build", *arguments, "--dtype", "float32", "--batch-size", "2", "--model-store", store]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service with all of them, one without a head, and a second version with classes and a size of its own."""
    store = tmp_path_factory.mktemp("family")
    (store / "labels").write_text("\n".join(TREES))
    save_file(timm.create_model("resnet18", num_classes=len(TREES)).state_dict(), store / "trees.safetensors")
    trees = ["resnet18", "--checkpoint", store / "trees.safetensors", "--labels", store / "labels"]
    jobs: list[list[str | Path]] = [[name, "--random-weights"] for name in INPUT_AND_MAP]
    jobs.append(["shunted_tiny", "--random-weights", "--no-head", "--image-size", "96x128", "--name", "embedder"])
    jobs.append([*trees, "--image-size", "64", "--name", "resnet50", "--model-version", "2.0"])
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda arguments: build(store, *arguments), jobs))
    served = [*INPUT_AND_MAP, "resnet50@1.0", "embedder"]
    served[served.index("resnet50")] = "resnet50@2.0"
    with service(tmp_path_factory.mktemp("run"), *served, "--model-store", store) as running:
        yield running


@pytest.fixture(scope="module")
def client(family: Running) -> Iterator[ReflectedClient]:
    found = ReflectedClient(family.grpc)
    yield found
    found.close()


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph of 640 × 427 that comes with scikit-learn, as a JPEG."""
    file = tmp_path_factory.mktemp("photo") / "china.jpg"
    Image.fromarray(load_sample_image("china.jpg")).save(file, quality=90)
    return file


def asked(photo: Path, model: str, version: str = "", **options: Any) -> dict[str, Any]:
    content = base64.b64encode(photo.read_bytes()).decode()
    return {"model": model, "version": version, "images": [{"content": content}], "options": options}


def numbers(tensor: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(tensor["data"]), "<f4").reshape(tensor["shape"])


@pytest.mark.parametrize("name", INPUT_AND_MAP)
def test_each_model_answers_over_grpc_with_finite_scores(client: ReflectedClient, photo: Path, name: str) -> None:
    version = "1.0" if name == "resnet50" else ""
    answer = client.call(CLASSIFY, asked(photo, name, version, top_k=1000, embedding=True))
    (result,) = answer["results"]
    scores = [each["score"] for each in result["predictions"]["predictions"]]
    assert (answer["model"], len(scores)) == (name, 1000)
    assert all(math.isfinite(score) for score in scores)
    assert sum(scores) == pytest.approx(1, abs=1e-4)
    embedding = numbers(result["predictions"]["embedding"])
    assert np.isfinite(embedding).all()
    assert embedding.std() > 0


@pytest.mark.parametrize("name", [name for name, (_, side) in INPUT_AND_MAP.items() if side])
def test_the_mean_of_each_map_is_its_classs_logit(client: ReflectedClient, photo: Path, name: str) -> None:
    """Scores are the softmax of the logits, so they are the softmax of the maps' means."""
    version = "1.0" if name == "resnet50" else ""
    answer = client.call(CLASSIFY, asked(photo, name, version, top_k=1000, class_activation_map=True))
    predictions = answer["results"][0]["predictions"]["predictions"]
    maps = np.stack([numbers(each["class_activation_map"]) for each in predictions])
    side = INPUT_AND_MAP[name][1]
    assert maps.shape == (1000, side, side)
    logits = maps.astype(np.float64).mean(axis=(1, 2))
    log_scores = np.log([each["score"] for each in predictions])
    assert np.abs((logits - logits[0]) - (log_scores - log_scores[0])).max() < 1e-4


def test_a_model_without_maps_says_so_and_never_guesses(family: Running, client: ReflectedClient, photo: Path) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        client.call(CLASSIFY, asked(photo, "vit_small_patch16_224", class_activation_map=True))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "vit_small_patch16_224" in refused.value.details()
    url = f"{family.http}/v1/models/vit_small_patch16_224:classify?class_activation_map=true"
    assert curl("-o", "/dev/null", "-w", "%{http_code}", "--data-binary", f"@{photo}", url) == "400"


def test_a_model_without_a_head_serves_embeddings_alone(family: Running, client: ReflectedClient, photo: Path) -> None:
    found = client.call(CLASSIFY, asked(photo, "embedder"))["results"][0]["predictions"]
    assert "predictions" not in found
    over_grpc = numbers(found["embedding"])
    body = json.loads(curl("--data-binary", f"@{photo}", f"{family.http}/v1/models/embedder:classify"))
    assert body["results"][0]["predictions"] == []
    over_rest = np.array(body["results"][0]["embedding"], np.float32)
    assert over_grpc.shape == over_rest.shape == (512,)
    assert np.allclose(over_grpc, over_rest, atol=1e-5)


def test_versions_have_their_own_labels_and_preprocessing(client: ReflectedClient, photo: Path) -> None:
    default = client.call(CLASSIFY, asked(photo, "resnet50"))
    first = client.call(CLASSIFY, asked(photo, "resnet50", "1.0"))
    assert default["version"] == "2.0"
    labels = [each["label"] for each in default["results"][0]["predictions"]["predictions"]]
    assert sorted(labels) == TREES
    assert first["results"][0]["predictions"]["predictions"][0]["label"] not in TREES
    described = {
        version: client.call("swinserve.v1.Classifier/GetModel", {"model": "resnet50", "version": version})
        for version in ("1.0", "2.0")
    }
    assert [described[version]["input_height"] for version in ("1.0", "2.0")] == [224, 64]


def test_an_unknown_model_is_told_which_there_are(family: Running, client: ReflectedClient, photo: Path) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        client.call(CLASSIFY, asked(photo, "swin_giant"))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    answer = json.loads(curl("--data-binary", f"@{photo}", f"{family.http}/v1/models/swin_giant:classify"))
    for told in (refused.value.details(), answer["error"]["message"]):
        assert all(name in told for name in [*INPUT_AND_MAP, "resnet50@2.0", "embedder"])


def test_each_model_is_described_with_what_it_gives(client: ReflectedClient) -> None:
    models = client.call("swinserve.v1.Classifier/ListModels", {})["models"]
    described = {f"{model['name']}@{model['version']}": model for model in models}
    for name, (side, map_side) in INPUT_AND_MAP.items():
        model = described[f"{name}@1.0"]
        assert (model["input_height"], model["input_width"]) == (side, side)
        assert model.get("activation_map_height", 0) == map_side
        assert model["weights"] == "random"
    assert int(described["swin_tiny_patch4_window7_224@1.0"]["multiply_adds"]) == 4_494_405_120
    assert "labels" not in described["embedder@1.0"]
