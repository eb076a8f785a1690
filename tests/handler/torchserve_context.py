"""The few methods of TorchServe's context that the handler uses, recording what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

REST = {"url_path": "", "explain": "False"}
GRPC: Mapping[str, str] = {}


class TorchServeContext:
    def __init__(self, folder: Path, settings: Mapping[str, Any], headers: Mapping[str, str] = GRPC) -> None:
        self.system_properties = {"model_dir": str(folder), "gpu_id": None}
        self.model_yaml_config = settings
        self.request_headers = headers
        self.statuses: dict[int, tuple[int, str]] = {}
        self.headers: dict[tuple[int, str], str] = {}

    def get_request_header(self, idx: int, key: str) -> str | None:
        return self.request_headers.get(key)

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        self.headers[idx, key] = value

    def set_response_content_type(self, idx: int, value: str) -> None:
        self.headers[idx, "content-type"] = value

    def set_response_status(self, code: int, phrase: str, idx: int) -> None:
        self.statuses[idx] = (code, phrase)
