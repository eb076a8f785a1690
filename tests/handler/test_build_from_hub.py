"""`swinserve build` with weights from the Hugging Face hub, whose place a hub in this process takes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load, save

from tests.handler.fake_hub import NO_HUB, Break, FakeHub, environment
from tests.handler.hub_client import CONTENT, SAFE, STEP, partial_files

SWINSERVE = "from swinserve.cli import main; main()"


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(8)
    return dict(timm.create_model("test_vit").state_dict())


def build(name: str, endpoint: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SWINSERVE, "build", name, "--model-store", str(folder / "store")],
        env={**os.environ, **environment(folder / "hf", endpoint)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_built_weights_come_from_the_hub_and_then_from_its_cache(
    hub: FakeHub, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    digest = hub.put("timm/test_vit.r160_in1k", SAFE, save(tensors))
    built = build("test_vit", hub.endpoint, tmp_path)
    assert built.returncode == 0, built.stdout + built.stderr
    archive = tmp_path / "store" / "test_vit-1.0.mar"
    with zipfile.ZipFile(archive) as mar:
        told = json.loads(mar.read("swinserve.json"))
        kept = load(mar.read("model.safetensors"))
    assert told["weights"] == "hub timm/test_vit.r160_in1k"
    assert all(torch.equal(kept[key], tensor) for key, tensor in tensors.items())
    assert hub.downloads == [f"GET /cdn/{digest}/{SAFE}"]

    first = archive.read_bytes()
    offline = build("test_vit.r160_in1k", NO_HUB, tmp_path)
    assert offline.returncode == 0, offline.stdout + offline.stderr
    assert "is taken from the cache" in offline.stderr
    assert archive.read_bytes() == first


def test_nothing_is_built_from_bytes_that_do_not_match_their_checksum(
    hub: FakeHub, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    digest = hub.put("timm/test_vit.r160_in1k", SAFE, save(tensors))
    hub.sent_instead[digest] = save({key: tensor + 1 for key, tensor in tensors.items()})
    refusal = build("test_vit", hub.endpoint, tmp_path)
    assert refusal.returncode == 3, refusal.stdout + refusal.stderr
    assert "does not match its SHA-256" in refusal.stderr
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("reachable", [True, False], ids=["the hub does not have them", "there is no hub"])
def test_weights_that_cannot_be_fetched_end_with_code_3_and_two_ways_out(
    hub: FakeHub, tmp_path: Path, reachable: bool
) -> None:
    refusal = build("test_vit2", hub.endpoint if reachable else NO_HUB, tmp_path)
    assert refusal.returncode == 3, refusal.stdout + refusal.stderr
    assert "swinserve build test_vit2 --checkpoint FILE" in refusal.stderr
    assert "swinserve build test_vit2 --random-weights" in refusal.stderr
    assert "Traceback" not in refusal.stderr
    assert ("does not answer" in refusal.stderr) != reachable
    assert not (tmp_path / "store").exists()


def test_ctrl_c_while_the_weights_come_ends_with_code_130(hub: FakeHub, tmp_path: Path) -> None:
    hub.put("timm/test_vit.r160_in1k", SAFE, CONTENT)
    hub.breaks = [Break(STEP + 99, "stall")]
    program = subprocess.Popen(
        [sys.executable, "-c", SWINSERVE, "build", "test_vit", "--model-store", str(tmp_path / "store")],
        env={**os.environ, **hub.environment(tmp_path / "hf"), "HF_HUB_DOWNLOAD_TIMEOUT": "30"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert hub.stalled.wait(timeout=60)
    program.send_signal(signal.SIGINT)
    told, _ = program.communicate(timeout=20)
    assert program.returncode == 130, told
    assert "Traceback" not in told
    assert not (tmp_path / "store").exists()
    assert partial_files(tmp_path) == []
