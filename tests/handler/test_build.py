"""`swinserve build`, called as the command line calls it, on timm's smallest models."""

from __future__ import annotations

import argparse
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from click.testing import CliRunner, Result
from safetensors.torch import load, save_file

from swin_handler import service
from swin_handler.build import archive, command, labels, store
from swin_handler.build.classifier import Classifier
from swin_handler.build.errors import BuildRefused
from tests.handler.conftest import options, unpack
from tests.handler.torchserve_context import REST, TorchServeContext

VIT = "test_vit"  # 0.4 M parameters, 160×160, 1000 classes


def run(*arguments: str | Path, expect: int = 0) -> Result:
    result = CliRunner().invoke(command.build, [str(argument) for argument in arguments])
    assert result.exit_code == expect, result.output
    return result


def contents(archive: Path) -> dict[str, Any]:
    with zipfile.ZipFile(archive) as mar:
        return {name: json.loads(mar.read(name)) for name in ("swinserve.json", "labels.json", "config.json")}


def state(classes: int = 1000, *, seed: int = 5) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return dict(timm.create_model(VIT, num_classes=classes).state_dict())


def weights_of(archive: Path) -> dict[str, torch.Tensor]:
    with zipfile.ZipFile(archive) as mar:
        return load(mar.read("model.safetensors"))


def test_an_agreement_that_nothing_would_be_held_to_is_refused(tmp_path: Path) -> None:
    result = run(VIT, "--random-weights", "--model-store", tmp_path, "--min-agreement", "0.9", expect=2)
    assert "--min-agreement is for int8, not for auto" in result.output
    assert not list(tmp_path.iterdir())


def test_random_weights_are_named_so_and_seeded(tmp_path: Path) -> None:
    result = run(VIT, "--random-weights", "--model-store", tmp_path)
    archive = tmp_path / "test_vit-1.0.mar"
    held = contents(archive)
    assert held["swinserve.json"]["weights"] == "random"
    assert held["labels.json"][0] == "tench, Tinca tinca"
    assert "random" in result.output
    first = archive.read_bytes()
    run(VIT, "--random-weights", "--model-store", tmp_path)
    assert archive.read_bytes() == first


@pytest.mark.parametrize("wrap", [None, "model", "state_dict", "safetensors"])
def test_a_checkpoint_is_taken_bare_or_wrapped(tmp_path: Path, wrap: str | None) -> None:
    suffix, tensors = ".safetensors" if wrap == "safetensors" else ".pth", state()
    file = tmp_path / f"vit{suffix}"
    if wrap == "safetensors":
        save_file(tensors, file)
    elif wrap is None:
        torch.save(tensors, file)
    else:
        prefixed = {f"module.{key}": value for key, value in tensors.items()}  # as DistributedDataParallel saves
        arguments = argparse.Namespace(lr=0.1)  # as timm's training script saves
        torch.save({wrap: prefixed, "args": arguments, "epoch": 3}, file)
    run(VIT, "--checkpoint", file, "--model-store", tmp_path)
    archive = tmp_path / "test_vit-1.0.mar"
    assert contents(archive)["swinserve.json"]["weights"] == f"file vit{suffix}"
    kept = weights_of(archive)
    assert all(torch.equal(kept[key], tensor) for key, tensor in tensors.items())


def test_the_classes_follow_the_checkpoints_head(tmp_path: Path) -> None:
    save_file(state(7), tmp_path / "seven.safetensors")
    run(VIT, "--checkpoint", tmp_path / "seven.safetensors", "--model-store", tmp_path, "--name", "seven")
    held = contents(tmp_path / "seven-1.0.mar")
    assert held["swinserve.json"]["num_classes"] == 7
    assert held["labels.json"] == [f"class_{index}" for index in range(7)]


def test_a_checkpoint_that_does_not_fit_is_refused_with_lists(tmp_path: Path) -> None:
    tensors = state()
    del tensors["norm.weight"]
    tensors["surprise"] = torch.zeros(1)
    tensors["cls_token"] = torch.zeros(1, 1, 3)
    save_file(tensors, tmp_path / "odd.safetensors")
    output = run(VIT, "--checkpoint", tmp_path / "odd.safetensors", "--model-store", tmp_path, expect=2).output
    assert "1 tensor missing: norm.weight" in output
    assert "1 tensor surplus: surprise" in output
    assert "cls_token (1, 1, 3) instead of (1, 1, 64)" in output
    assert not list(tmp_path.glob("*.mar"))


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"model": {"weight": Bomb()}}, "Pickled objects"),
        ({"epoch": 3}, "holds no state dict"),
        ([1, 2], "holds no state dict"),
    ],
)
def test_a_file_without_plain_tensors_is_refused(tmp_path: Path, content: Any, complaint: str) -> None:
    torch.save(content, tmp_path / "bad.pth")
    output = run(VIT, "--checkpoint", tmp_path / "bad.pth", expect=2).output
    assert complaint in output
    assert "executed" not in output
    assert "weights_only" not in output


@pytest.mark.parametrize("name", ["noise.pth", "noise.safetensors"])
def test_noise_is_no_checkpoint(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"noise" * 100)
    assert "cannot be read as a checkpoint" in run(VIT, "--checkpoint", tmp_path / name, expect=2).output


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("swin_tinny_patch4_window7_224", "Did you mean swin_tiny_patch4_window7_224"),
        ("swin_digit", "Did you mean swin_digits"),
        ("qqqqqqqqq", "timm has no model 'qqqqqqqqq'."),
        ("swin_tiny_patch4_window7_224.nobody", "Did you mean swin_tiny_patch4_window7_224.ms_in1k"),
        ("hf-hub:timm/test_vit.r160_in1k", "timm has no model"),
    ],
)
def test_an_unknown_name_is_refused_with_what_is_close(name: str, complaint: str) -> None:
    assert complaint in run(name, "--random-weights", expect=2).output


@pytest.mark.parametrize(
    "arguments",
    [
        [VIT, "--random-weights", "--checkpoint", __file__],
        [VIT, "--checkpoint", "/no/such/file"],
        [VIT, "--name", "../escape"],
        [VIT, "--model-version", ""],
        [VIT, "--batch-size", "0"],
        [VIT, "--backend", "tensorrt"],
        [VIT, "--image-size", "big"],
        [VIT, "--image-size", "0"],
        [VIT, "--no-head", "--labels", __file__],
        [],
    ],
)
def test_a_wrong_option_is_a_usage_error_before_torch_is_imported(arguments: list[str]) -> None:
    assert "Starting" not in run(*arguments, expect=2).output


class TwoAnswers(torch.nn.Module):
    num_classes = 3

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images.mean((2, 3)), images


def test_a_model_that_is_no_classifier_is_refused(tmp_path: Path) -> None:
    cfg = {"input_size": (3, 8, 8), "num_classes": 3}
    odd = Classifier(TwoAnswers(), "two_answers", {}, cfg, None, "random")
    with pytest.raises(BuildRefused, match="two_answers is no plain classifier"):
        archive.write(odd, ["a", "b", "c"], options(name="odd"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_options_reach_the_archive(tmp_path: Path) -> None:
    names = ["--name", "other", "--model-version", "2.1", "--batch-size", "6", "--workers", "2"]
    machine = ["--backend", "eager", "--dtype", "float32", "--device", "cpu"]
    run(VIT, "--random-weights", "--model-store", tmp_path, *names, *machine, "--full-decode")
    told = contents(tmp_path / "other-2.1.mar")["swinserve.json"]
    assert (told["name"], told["version"], told["workers"], told["batch_size"]) == ("other", "2.1", 2, 6)
    assert (told["backend"], told["dtype"], told["batch_buckets"]) == ("eager", "float32", [1, 2, 4, 6])
    folder = unpack(tmp_path / "other-2.1.mar", tmp_path / "unpacked")
    settings = yaml.safe_load((folder / "model-config.yaml").read_text())
    assert settings["deviceType"] == "cpu"
    assert settings["handler"]["scaled_decode"] is False


@pytest.mark.parametrize(("text", "expected"), [("a\nb c\n\n", ["a", "b c"]), ('["x", "y"]', ["x", "y"])])
def test_labels_come_from_lines_or_a_json_list(tmp_path: Path, text: str, expected: list[str]) -> None:
    (tmp_path / "labels").write_text(text)
    assert labels.choose(2, file=tmp_path / "labels", own=["not", "these"]) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a\nb\nc", "has 3 labels, the model has 2 classes"),
        ("[1, 2]", "every label must be a text"),
        ("[", "starts like a JSON list"),
        ("a\n\nb", "every label must be a text that is not empty"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, text: str | bytes, complaint: str) -> None:
    (tmp_path / "labels").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BuildRefused, match=complaint):
        labels.choose(2, file=tmp_path / "labels", own=None)


def test_labels_that_came_with_the_weights_are_used() -> None:
    assert labels.choose(2, file=None, own=["zero", "one"]) == ["zero", "one"]


@pytest.mark.parametrize("classes", [1000, 11821, 21841])
def test_imagenets_names_are_known_by_the_number_of_classes(classes: int) -> None:
    names = labels.choose(classes, file=None, own=None)
    assert len(names) == classes
    assert not names[0].startswith("class_")


def test_the_model_store_is_found_in_the_documented_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWINSERVE_MODEL_STORE", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert store.resolve(None) == tmp_path / "data" / "swinserve" / "model_store"
    (tmp_path / "model_store").mkdir()
    assert store.resolve(None) == Path("model_store")
    monkeypatch.setenv("SWINSERVE_MODEL_STORE", "/somewhere")
    assert store.resolve(None) == Path("/somewhere")
    assert store.resolve(Path("/here")) == Path("/here")


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the trained default, in the same files."""
    folder = tmp_path / "digits"
    folder.mkdir()
    torch.manual_seed(0)
    module = timm.create_model(VIT, num_classes=3)
    cfg = {**module.pretrained_cfg, "num_classes": 3}
    names = ["zero", "one", "two"]
    config = {"architecture": VIT, "num_classes": 3, "model_args": {}, "label_names": names, "pretrained_cfg": cfg}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(module.state_dict(), folder / "model.safetensors")
    monkeypatch.setattr(store, "built_in_folder", lambda: folder)
    return folder


def test_the_built_in_model_needs_no_network(digits: Path, tmp_path: Path) -> None:
    run("swin_digits", "--model-store", tmp_path)
    held = contents(tmp_path / "swin_digits-1.0.mar")
    assert held["swinserve.json"]["weights"] == "built-in swin_digits"
    assert held["labels.json"] == ["zero", "one", "two"]


def test_the_built_in_architecture_takes_a_fine_tuned_checkpoint(digits: Path, tmp_path: Path) -> None:
    save_file(state(4), tmp_path / "four.safetensors")
    run("swin_digits", "--checkpoint", tmp_path / "four.safetensors", "--model-store", tmp_path)
    assert contents(tmp_path / "swin_digits-1.0.mar")["labels.json"] == [f"class_{index}" for index in range(4)]


def test_a_missing_built_in_model_is_said_plainly(digits: Path, tmp_path: Path) -> None:
    (digits / "config.json").unlink()
    output = run("swin_digits", "--model-store", tmp_path, expect=2).output
    assert "the built-in model cannot be read from" in output


def test_the_committed_default_model_knows_its_samples(tmp_path: Path) -> None:
    run("swin_digits", "--model-store", tmp_path)
    folder = unpack(tmp_path / "swin_digits-1.0.mar", tmp_path / "unpacked")
    settings = yaml.safe_load((folder / "model-config.yaml").read_text())
    samples = sorted((store.built_in_folder() / "samples").iterdir())
    assert samples
    served = service.Service.load(folder, settings, gpu=None)
    answers = served.handle(
        [{"body": sample.read_bytes()} for sample in samples], TorchServeContext(folder, settings, REST)
    )
    assert [next(iter(json.loads(answer))) for answer in answers] == [s.name.partition("-")[0] for s in samples]


def test_help_is_readable_and_quick() -> None:
    output = " ".join(run("--help").output.split())
    assert "Exit codes: 0 built, 1 the disk failed, 2 bad input, 3 the weights cannot be fetched." in output
    assert "Starting" not in output
