"""What importing costs, what it brings, and what the package says it exports."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import swinserve

HEAVY = ("torch", "numpy", "PIL", "grpc", "google.protobuf", "httpx", "rich", "click", "importlib.metadata")
PROBE = """
import json, sys, time
start = time.perf_counter()
import {module}
print(json.dumps([time.perf_counter() - start, sorted(sys.modules)]))
"""


def imported(module: str) -> tuple[float, set[str]]:
    """Seconds that the import took in a fresh interpreter, and all modules there after it."""
    command = [sys.executable, "-c", PROBE.format(module=module)]
    seconds, modules = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return seconds, set(modules)


def test_importing_the_client_is_fast_and_brings_nothing_heavy() -> None:
    seconds, modules = min(imported("swinserve") for _ in range(3))
    assert seconds < 0.3
    assert not modules.intersection(HEAVY)


def test_the_command_line_starts_without_torch_or_a_protocol() -> None:
    _, modules = imported("swinserve.cli")
    assert not modules.intersection(("torch", "numpy", "grpc", "httpx", "rich"))


def test_all_is_what_is_exported() -> None:
    public = {name for name, value in vars(swinserve).items() if not isinstance(value, ModuleType)}
    public = {name for name in public if not name.startswith("_")} | {"__version__"}
    assert sorted(public) == sorted(swinserve.__all__)


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert swinserve.__version__ == project["version"]
    assert "__version__" not in vars(swinserve)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = swinserve.nothing_such
