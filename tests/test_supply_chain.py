"""What is inside is known: the bill of materials names all of it, and the audit looks at all of it."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
AUDIT = ROOT / ".venv-audit" / "bin"
LOCK = ROOT / "requirements" / "serve.txt"
JARS = ROOT / "deploy" / "torchserve-jars.toml"


def pins() -> dict[str, str]:
    return dict(re.findall(r"^([a-zA-Z0-9][\w.-]*)(?:\[[\w,]+\])?==([^\s;]+)", LOCK.read_text(), re.MULTILINE))


@pytest.fixture(scope="module")
def bom(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    output = tmp_path_factory.mktemp("sbom") / "swinserve.cdx.json"
    subprocess.run([AUDIT / "python", ROOT / "deploy" / "sbom.py", "--output", output], check=True)
    return json.loads(output.read_text())


def test_the_bill_of_materials_names_every_locked_package_with_its_version_and_hashes(bom: dict[str, Any]) -> None:
    found = {each["name"]: each for each in bom["components"]}
    assert {name: each["version"] for name, each in found.items()} == pins()
    assert len(found) > 80
    for name, each in found.items():
        assert each["purl"].startswith(f"pkg:pypi/{name.lower().replace('_', '-')}@"), name
    assert bom["metadata"]["component"]["name"] == "swinserve"


def test_it_names_the_jars_inside_torchserve(bom: dict[str, Any]) -> None:
    (torchserve,) = [each for each in bom["components"] if each["name"] == "torchserve"]
    found = {f"{each['group']}:{each['name']}": each.get("version", "") for each in torchserve["components"]}
    assert found == tomllib.loads(JARS.read_text())["jars"]
    assert torchserve["components"][0]["purl"].startswith("pkg:maven/")


def jar() -> zipfile.ZipFile:
    spec = importlib.util.find_spec("ts")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return zipfile.ZipFile(Path(spec.submodule_search_locations[0]) / "frontend" / "model-server.jar")


def test_where_the_jar_tells_its_versions_they_are_the_ones_we_name() -> None:
    named = tomllib.loads(JARS.read_text())["jars"]
    with jar() as archive:
        text = archive.read("META-INF/io.netty.versions.properties").decode()
    versions = set(re.findall(r"^netty-\S+\.version=(\S+)$", text, re.MULTILINE))
    assert named["io.netty:netty-all"] in versions


def test_every_library_in_the_jar_is_named() -> None:
    """By its packages: a library that a later TorchServe brings shows here."""
    table = tomllib.loads(JARS.read_text())
    with jar() as archive:
        classes = [name.removeprefix("META-INF/versions/9/") for name in archive.namelist() if name.endswith(".class")]
    assert len(classes) > 10_000
    nobodys = {name for name in classes if "/" in name and not name.startswith(tuple(table["packages"]))}
    assert not nobodys
    assert set(table["packages"].values()) - {"torchserve"} <= set(table["jars"])


def test_the_audit_looks_at_every_locked_package() -> None:
    command = [AUDIT / "pip-audit", "--dry-run", "--disable-pip", "--require-hashes", "--requirement", LOCK]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert f"would have audited {len(pins())} packages" in done.stdout + done.stderr
