"""Which weights become which model: official checkpoints, other sizes, other heads, none."""

from __future__ import annotations

import json
import re
import sys
import types
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file
from timm.data.transforms_factory import create_transform
from torch import nn

from swin_handler import model, service
from swin_handler.build import official, weights
from swin_handler.build.classifier import Changes, Classifier, skeleton
from swin_handler.build.errors import BuildRefused
from tests.handler.conftest import unpack
from tests.handler.models.test_reference import official as in_official_layout
from tests.handler.pictures import jpeg
from tests.handler.test_build import VIT, contents, run
from tests.handler.torchserve_context import REST, TorchServeContext

SWIN = "swin_tiny_patch4_window7_224"
SWINV2 = "swinv2_tiny_window8_256"
SHUNTED = "shunted_tiny"


def fine_tuned(name: str, classes: int = 3, **arguments: Any) -> nn.Module:
    torch.manual_seed(4)
    module: nn.Module = timm.create_model(name, num_classes=classes, **arguments).eval()
    if name == SWINV2:
        for key, parameter in module.named_parameters():
            if ".norm" in key:  # they start at zero, which would hide the blocks
                nn.init.normal_(parameter, mean=1.0, std=0.2)
    return module


def saved(state: dict[str, Any], file: Path) -> Path:
    torch.save(state, file)
    return file


@torch.inference_mode()
def same_answers(one: nn.Module, other: nn.Module, size: tuple[int, int]) -> bool:
    images = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(3))
    return bool(torch.allclose(one(images), other(images), atol=1e-6))


@pytest.mark.parametrize(
    ("name", "layout", "family", "size"),
    [
        (SWIN, in_official_layout, "Swin V1", (224, 224)),
        (SWINV2, in_official_layout, "Swin V2", (256, 256)),
        (SHUNTED, nn.Module.state_dict, "Shunted Transformer", (224, 224)),
    ],
)
@pytest.mark.parametrize("bare", [True, False])
def test_an_official_checkpoint_is_known_by_its_keys(
    name: str,
    layout: Callable[[nn.Module], dict[str, Any]],
    family: str,
    size: tuple[int, int],
    bare: bool,
    tmp_path: Path,
) -> None:
    trained = fine_tuned(name)
    state = layout(trained)
    file = saved(state if bare else {"model": state, "epoch": 300}, tmp_path / "official.pth")
    built = weights.load(name, checkpoint=file)
    assert built.num_classes == 3
    assert same_answers(built.module, trained, size)
    assert (
        f"a checkpoint in the layout of the authors of {family}: preprocessed as in their evaluation" in built.notes[0]
    )


@pytest.mark.parametrize("stored", [torch.zeros(49, 49), torch.full((4, 4), 9.0)])
def test_buffers_stored_in_an_official_checkpoint_are_not_used(stored: torch.Tensor, tmp_path: Path) -> None:
    trained = fine_tuned(SWIN)
    extra = {
        "layers.0.blocks.0.attn.relative_position_index": stored,
        "layers.0.blocks.1.attn_mask": stored,
    }
    built = weights.load(SWIN, checkpoint=saved(in_official_layout(trained) | extra, tmp_path / "swin.pth"))
    assert same_answers(built.module, trained, (224, 224))


def scaled(cfg: dict[str, Any]) -> tuple[int, str]:
    """What timm's transform does first: (the edge it resizes to, how)."""
    config = model.preprocessing(cfg)
    resize = create_transform(**config, normalize=False).transforms[0]
    edge = resize.size if isinstance(resize.size, int) else max(resize.size)
    return edge, type(resize).__name__


@pytest.mark.parametrize(
    ("family", "size", "edge"),
    [("swin", 224, 256), ("swinv2", 256, 292), ("swinv2", 192, 219), ("shunted", 224, 256), ("shunted", 384, 438)],
)
def test_official_weights_are_cropped_as_their_authors_did(family: str, size: int, edge: int) -> None:
    cfg = {**skeleton(VIT).pretrained_cfg, "input_size": (3, size, size), **official.evaluation(family, (size, size))}
    assert scaled(cfg)[0] == edge


def test_the_resized_edge_is_the_official_one_for_every_size() -> None:
    sizes = range(16, 1025)
    assert [int(size / official.evaluation("shunted", (size, size))["crop_pct"]) for size in sizes] == [
        int(256 / 224 * size) for size in sizes
    ]


def test_official_swin_at_384_is_squashed_to_the_square() -> None:
    assert official.evaluation("swin", (384, 384)) == {
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "interpolation": "bicubic",
    }


def test_timms_own_checkpoints_keep_timms_preprocessing(tmp_path: Path) -> None:
    save_file(fine_tuned(SWIN).state_dict(), tmp_path / "timm.safetensors")
    built = weights.load(SWIN, checkpoint=tmp_path / "timm.safetensors")
    assert built.pretrained_cfg["crop_pct"] == 0.9
    assert built.notes == ()


def test_another_window_size_resizes_the_tables_as_timm_does(tmp_path: Path) -> None:
    file = saved(in_official_layout(fine_tuned(SWIN)), tmp_path / "swin.pth")
    changed = weights.load(SWIN, checkpoint=file, changes=Changes(image_size=(384, 384), window_size=12))
    timms = timm.create_model(SWIN, num_classes=3, img_size=384, window_size=12).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of the indexing in timm's interpolation
        timms.load_state_dict(timm.models.swin_transformer.checkpoint_filter_fn(torch.load(file), timms))
    assert same_answers(changed.module, timms, (384, 384))
    assert changed.pretrained_cfg["input_size"] == (3, 384, 384)
    assert re.search(r"12 tensors resized as timm does it: .*bias_table \(169, 3\) → \(529, 3\), …", changed.notes[1])


def test_a_smaller_image_clips_the_last_window_and_says_so(tmp_path: Path) -> None:
    file = saved(fine_tuned(SWIN).state_dict(), tmp_path / "swin.pth")
    changed = weights.load(SWIN, checkpoint=file, changes=Changes(image_size=(112, 112)))
    (note,) = changed.notes
    assert re.search(r"2 tensors resized as timm does it: layers.3.blocks.0.* \(169, 24\) → \(49, 24\), …", note)
    with torch.inference_mode():
        assert changed.module(torch.zeros(1, 3, 112, 112)).shape == (1, 3)


def test_v2_in_another_window_keeps_the_coordinates_of_its_training(tmp_path: Path) -> None:
    """A relative position has the same bias in the new window as in the old one."""
    file = saved(in_official_layout(fine_tuned(SWINV2)), tmp_path / "v2.pth")
    before: Any = weights.load(SWINV2, checkpoint=file).module
    after: Any = weights.load(SWINV2, checkpoint=file, changes=Changes(window_size=16)).module
    small, large = (m.layers[0].blocks[0].attn.relative_coords_table[0] for m in (before, after))
    assert small.shape[:2] == (15, 15)
    assert large.shape[:2] == (31, 31)
    assert torch.allclose(small, large[8:23, 8:23])


def test_v2_fine_tuned_to_a_larger_window_keeps_its_first_windows(tmp_path: Path) -> None:
    """swinv2_base_window12to16_192to256 was pretrained with windows of 12, and 6 in the last stage."""
    with torch.device("meta"):
        changed: Any = skeleton("swinv2_base_window12to16_192to256", Changes(window_size=8))
    assert changed.model_args["pretrained_window_sizes"] == [12, 12, 12, 6]


def test_a_rectangular_image_size_reaches_model_and_preprocessing(tmp_path: Path) -> None:
    run(SHUNTED, "--random-weights", "--image-size", "96x160", "--model-store", tmp_path)
    held = contents(tmp_path / "shunted_tiny-1.0.mar")
    assert held["swinserve.json"]["input_size"] == [3, 96, 160]
    assert held["swinserve.json"]["activation_map"] == [3, 5]
    run(VIT, "--random-weights", "--image-size", "64x96", "--model-store", tmp_path)
    assert contents(tmp_path / "test_vit-1.0.mar")["swinserve.json"]["input_size"] == [3, 64, 96]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([SHUNTED, "--image-size", "20"], "too small to merge 8×8"),
        ([VIT, "--window-size", "7"], "test_vit has no windows"),
        ([VIT, "--image-size", "8"], "test_vit"),
    ],
)
def test_sizes_that_cannot_work_are_refused(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    output = run(*arguments, "--random-weights", "--model-store", tmp_path, expect=2).output
    assert complaint in " ".join(output.split())
    assert list(tmp_path.iterdir()) == []


def test_without_a_head_the_model_gives_its_pooled_features(tmp_path: Path) -> None:
    trained = fine_tuned(SWIN)
    file = saved(in_official_layout(trained), tmp_path / "swin.pth")
    run(SWIN, "--checkpoint", file, "--no-head", "--model-store", tmp_path)
    held = contents(tmp_path / f"{SWIN}-1.0.mar")
    manifest = held["swinserve.json"]
    assert (manifest["num_classes"], manifest["embedding_size"], manifest["activation_map"]) == (0, 768, None)
    assert held["labels.json"] == []
    built: Classifier = weights.load(SWIN, checkpoint=file, changes=Changes(headless=True))
    images = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        pooled = trained.forward_head(trained.forward_features(images), pre_logits=True)  # type: ignore[operator]
        assert torch.allclose(built.module(images), pooled, atol=1e-6)
    assert built.notes[-1] == "without a head: head.fc.weight, head.fc.bias"


def test_a_checkpoint_without_a_head_is_told_from_a_broken_one(tmp_path: Path) -> None:
    state = {key: tensor for key, tensor in fine_tuned(SWIN).state_dict().items() if not key.startswith("head.")}
    file = saved(state, tmp_path / "headless.pth")
    with pytest.raises(BuildRefused, match="It has no head; --no-head serves its embeddings"):
        weights.load(SWIN, checkpoint=file)
    assert weights.load(SWIN, checkpoint=file, changes=Changes(headless=True)).num_classes == 0


def test_an_official_checkpoint_of_another_family_is_named(tmp_path: Path) -> None:
    file = saved(in_official_layout(fine_tuned(SWIN)), tmp_path / "swin.pth")
    with pytest.raises(BuildRefused, match="The file is in the layout of the authors of Swin V1"):
        weights.load(VIT, checkpoint=file)
    with pytest.raises(BuildRefused, match=r"does not fit shunted_tiny:\n.* missing"):
        weights.load(SHUNTED, checkpoint=file)
    shunted = saved(fine_tuned(SHUNTED).state_dict(), tmp_path / "ckpt_T.pth")
    with pytest.raises(BuildRefused, match="authors of Shunted") as refused:
        weights.load(SWIN, checkpoint=shunted)
    assert "--no-head" not in str(refused.value)


@pytest.mark.parametrize(
    "name", ["resnet18", "vit_tiny_patch16_224", "deit_tiny_patch16_224", "pvt_v2_b0", "convnext_atto"]
)
def test_the_baselines_build_and_serve_by_the_same_path(name: str, tmp_path: Path) -> None:
    run(name, "--random-weights", "--image-size", "64", "--model-store", tmp_path)
    manifest = contents(tmp_path / f"{name}-1.0.mar")["swinserve.json"]
    assert manifest["num_classes"] == 1000
    assert manifest["embedding_size"] > 0
    assert (manifest["activation_map"] is not None) == (name in ("resnet18", "pvt_v2_b0"))
    folder = unpack(tmp_path / f"{name}-1.0.mar", tmp_path / "unpacked")
    settings = yaml.safe_load((folder / "model-config.yaml").read_text())
    served = service.Service.load(folder, settings, gpu=None)
    (answer,) = served.handle([{"body": jpeg(90, 70)}], TorchServeContext(folder, settings, REST))
    scores = list(json.loads(answer).values())
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)


class CfgNode(dict[str, Any]):
    """As yacs has it: what the Swin authors' training code saves beside the tensors."""

    def __init__(self) -> None:
        super().__init__(MODEL={"TYPE": "swin"})
        self.__dict__["__immutable__"] = True


def test_a_checkpoint_of_the_authors_training_code_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("yacs.config")
    module.CfgNode = CfgNode  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", module)
    monkeypatch.setattr(CfgNode, "__module__", "yacs.config")
    trained = fine_tuned(SWIN)
    content = {"model": in_official_layout(trained), "config": CfgNode(), "max_accuracy": 81.2, "optimizer": {"a": []}}
    file = saved(content, tmp_path / "ckpt_epoch_299.pth")
    monkeypatch.delitem(sys.modules, "yacs.config")  # nobody who serves has it
    assert same_answers(weights.load(SWIN, checkpoint=file).module, trained, (224, 224))


def test_a_class_that_stands_in_the_way_is_named(tmp_path: Path) -> None:
    file = saved({"model": fine_tuned(VIT).state_dict(), "when": datetime(2026, 11, 21)}, tmp_path / "vit.pth")
    with pytest.raises(BuildRefused, match=r"UnpicklingError: datetime.datetime\)"):
        weights.load(VIT, checkpoint=file)


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema"])
def test_averaged_weights_are_taken_as_timm_takes_them(key: str, tmp_path: Path) -> None:
    trained = fine_tuned(VIT)
    raw = {name: torch.zeros_like(tensor) for name, tensor in trained.state_dict().items()}
    built = weights.load(VIT, checkpoint=saved({"state_dict": raw, key: trained.state_dict()}, tmp_path / "t.pth"))
    assert same_answers(built.module, trained, (160, 160))
    assert built.notes == (f"the averaged weights of the file are taken ({key}), as timm does",)


def test_what_a_changed_window_means_for_v2_is_said(tmp_path: Path) -> None:
    file = saved(in_official_layout(fine_tuned(SWINV2)), tmp_path / "v2.pth")
    notes = weights.load(SWINV2, checkpoint=file, changes=Changes(window_size=16)).notes
    assert "position biases are computed in the coordinates of the windows trained with, [8, 8, 8, 8]" in notes
    assert not any("position biases" in note for note in weights.load(SWINV2, checkpoint=file).notes)


def test_missing_tensors_are_named_as_in_the_file(tmp_path: Path) -> None:
    state = in_official_layout(fine_tuned(SWIN))
    del state["layers.2.downsample.norm.bias"]
    with pytest.raises(BuildRefused, match=r"1 tensor missing: layers\.2\.downsample\.norm\.bias"):
        weights.load(SWIN, checkpoint=saved(state, tmp_path / "swin.pth"))


def test_an_archive_that_answers_differently_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(module: Any) -> None:
        with torch.no_grad():
            module.get_classifier().bias.add_(0.1)

    monkeypatch.setattr(model.models, "fold_batch_norm", spoil)
    output = run(VIT, "--random-weights", "--model-store", tmp_path, expect=2).output
    assert "answers differently than the one it was made from" in " ".join(output.split())
    assert list(tmp_path.iterdir()) == []
