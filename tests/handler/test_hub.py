"""Weights from the Hugging Face hub: a local stand-in that answers its client's few requests, and no hub at all."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load, save

REPOSITORY = "/timm/test_vit.r160_in1k/resolve/main"


class FakeHub(http.server.BaseHTTPRequestHandler):
    files: dict[str, bytes]
    seen: list[str]

    def do_HEAD(self) -> None:
        self.seen.append(f"{self.command} {self.path}")
        content = self.files.get(self.path.partition("?")[0])
        self.send_response(200 if content is not None else 404)
        if content is None:
            self.send_header(
                "X-Error-Code", "EntryNotFound" if self.path.startswith("/timm/test_vit.") else "RepoNotFound"
            )
        self.send_header("ETag", f'"{hashlib.sha256(content or b"").hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.files.get(self.path.partition("?")[0], b""))

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(8)
    return dict(timm.create_model("test_vit").state_dict())


@pytest.fixture
def hub(tensors: dict[str, torch.Tensor]) -> Iterator[tuple[str, list[str]]]:
    handler = type("Handler", (FakeHub,), {"files": {f"{REPOSITORY}/model.safetensors": save(tensors)}, "seen": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler.seen
        server.shutdown()
        thread.join()


def build(name: str, endpoint: str, folder: Path) -> subprocess.CompletedProcess[str]:
    # A process of its own: the hub's client reads its endpoint when it is imported.
    quiet = {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hf"), "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from swin_handler.build.command import build; build()",
            name,
            "--model-store",
            str(folder / "store"),
        ],
        env={**os.environ, **quiet},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_weights_come_from_the_hub_and_then_from_its_cache(
    hub: tuple[str, list[str]], tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    endpoint, seen = hub
    built = build("test_vit", endpoint, tmp_path)
    assert built.returncode == 0, built.stdout + built.stderr
    archive = tmp_path / "store" / "test_vit-1.0.mar"
    with zipfile.ZipFile(archive) as mar:
        told = json.loads(mar.read("swinserve.json"))
        kept = load(mar.read("model.safetensors"))
    assert told["weights"] == "hub timm/test_vit.r160_in1k"
    assert all(torch.equal(kept[key], tensor) for key, tensor in tensors.items())
    assert f"GET {REPOSITORY}/model.safetensors" in seen

    first = archive.read_bytes()
    offline = build("test_vit.r160_in1k", "http://127.0.0.1:9", tmp_path)
    assert offline.returncode == 0, offline.stdout + offline.stderr
    assert archive.read_bytes() == first


@pytest.mark.parametrize("reachable", [True, False], ids=["the hub does not have them", "there is no hub"])
def test_weights_that_cannot_be_fetched_end_with_code_3_and_two_ways_out(
    hub: tuple[str, list[str]], tmp_path: Path, reachable: bool
) -> None:
    refused = build("test_vit2", hub[0] if reachable else "http://127.0.0.1:9", tmp_path)
    assert refused.returncode == 3, refused.stdout + refused.stderr
    assert "swinserve build test_vit2 --checkpoint FILE" in refused.stderr
    assert "swinserve build test_vit2 --random-weights" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert ("does not answer" in refused.stderr) != reachable
    assert not (tmp_path / "store").exists()
