"""Fixtures of the e2e tests: the default model built once, one shared service, images made on the spot."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.running import SWINSERVE, Running, service

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "model_store" / "swin_digits" / "samples"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store with the default model, built by the real command."""
    folder = tmp_path_factory.mktemp("store")
    subprocess.run([SWINSERVE, "build", "swin_digits", "--model-store", folder], check=True)
    return folder


@pytest.fixture(scope="session")
def shared(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service for all tests that leave it as they found it."""
    with service(tmp_path_factory.mktemp("shared"), "swin_digits", "--model-store", store) as running:
        yield running


@pytest.fixture(scope="session")
def samples() -> dict[Path, str]:
    """Committed held-out digits and what they show."""
    return {path: path.name.split("-")[0] for path in sorted(SAMPLES.iterdir())}


@pytest.fixture(scope="session")
def digit(samples: dict[Path, str]) -> Path:
    return next(path for path in samples if path.suffix == ".png")
