"""Inside of the tuned servers: bytes of images -> {label: score} for each, the five best, by our own handler.

It is the code that our TorchServe worker runs (decode pool, batch buckets, compiled engine), on an unpacked archive;
runs in the peer's environment, with the repository's `handler` on PYTHONPATH.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from swin_handler.service import Service


class Engine:
    def __init__(self, folder: Path) -> None:
        """folder: the one with archive/ in it"""
        archive = folder / "archive"
        settings = yaml.safe_load((archive / "model-config.yaml").read_text(encoding="utf-8"))
        self._service = Service.load(archive, settings, gpu=None)
        self.largest_batch: int = settings["batchSize"]

    def classify(self, images: Sequence[bytes]) -> list[dict[str, float]]:
        """Raises ValueError when any of the images has no answer: a benchmark sends none such."""
        return [json.loads(answer) for answer in self._service.handle([{"body": image} for image in images], _Rest())]


class _Rest:
    """What the handler asks of TorchServe's context, for a request that came over REST."""

    system_properties: Mapping[str, Any] = {}
    model_yaml_config: Mapping[str, Any] = {}

    def get_request_header(self, idx: int, key: str) -> str | None:
        return ""

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        raise AssertionError("only asked for over gRPC")

    def set_response_content_type(self, idx: int, value: str) -> None:
        assert value == "application/json"

    def set_response_status(self, code: int, phrase: str, idx: int) -> None:
        raise ValueError(f"image {idx}: {code} {phrase}")
