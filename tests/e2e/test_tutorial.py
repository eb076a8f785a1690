"""The tutorial, step by step as it stands: the first image, a fine-tuned model, its archive, its service."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.documented import ROOT, blocks, clone, commands, run, sections
from tests.e2e.running import Running, service

_, FIRST_IMAGE, OWN_MODEL, ARCHIVE, SERVICE, _ = sections((ROOT / "docs" / "tutorial.md").read_text())
SERVE, *CALLS = commands(SERVICE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Path:
    return clone(tmp_path_factory.mktemp("tutorial"), store)


@pytest.fixture(scope="module")
def trained(folder: Path) -> str:
    """What the scripts print."""
    for script in blocks(OWN_MODEL, "python"):
        name = script.partition("\n")[0].removeprefix("# ")
        (folder / name).write_text(script)
    return "".join(run(command, folder) for command in commands(OWN_MODEL))


@pytest.fixture(scope="module")
def own(folder: Path, trained: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The service of the tutorial, with the model that was trained."""
    for command in commands(ARCHIVE):
        run(command, folder)
    models = shlex.split(SERVE)[2:]
    with service(tmp_path_factory.mktemp("own"), *models, "--model-store", folder / "model_store") as running:
        yield running


@pytest.mark.parametrize("command", commands(FIRST_IMAGE)[1:])
def test_the_first_image_is_classified(shared: Running, folder: Path, command: str) -> None:
    assert "seven" in re.sub(r"\S*model_store\S*", "", run(command, folder, shared))


def test_the_first_image_is_classified_from_python(shared: Running, folder: Path) -> None:
    (block,) = blocks(FIRST_IMAGE, "python")
    assert run([sys.executable, "-W", "error", "-c", block], folder, shared).startswith("seven 0.9")


def test_the_fine_tuned_model_is_right_on_pictures_it_has_not_seen(trained: str) -> None:
    right, total = map(int, re.findall(r"(\d+) of (\d+) held-out pictures right", trained)[-1])
    assert right >= 0.9 * total


def test_the_fine_tuned_model_is_served(own: Running, folder: Path) -> None:
    every, curled, drawn = [run(command, folder, own) for command in CALLS]
    for digit, label in {"zero": "even", "four": "even", "seven": "odd", "nine": "odd"}.items():
        assert re.search(rf"{digit}-\S+\s+{label} ", every), every
    assert '"label":"odd"' in curled
    assert "even" in drawn
    assert (folder / "map.png").stat().st_size > 0
