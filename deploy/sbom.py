"""The service's locked packages and the jars inside TorchServe's -> one CycloneDX file, checked against its schema.

`make sbom` runs it in .venv-audit, where cyclonedx-bom is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parents[1]
VERSION = SchemaVersion.V1_6


def locked(requirements: Path) -> dict[str, Any]:
    """What cyclonedx-py makes of a lock."""
    command = [
        *(Path(sys.executable).with_name("cyclonedx-py"), "requirements", requirements),
        *("--pyproject", ROOT / "pyproject.toml", "--output-reproducible", "--no-validate"),
        *("--spec-version", VERSION.to_version(), "--output-format", "JSON"),
    ]
    bom: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return bom


def jars() -> list[dict[str, Any]]:
    """Those inside TorchServe's jar, as components."""
    found = tomllib.loads((ROOT / "deploy" / "torchserve-jars.toml").read_text())["jars"]
    components = []
    for name, version in found.items():
        group, _, artifact = name.partition(":")
        purl = f"pkg:maven/{group}/{artifact}" + (f"@{version}" if version else "")
        facts = {"type": "library", "bom-ref": purl, "group": group, "name": artifact, "purl": purl}
        components.append(facts | ({"version": version} if version else {}))
    return components


def with_jars(bom: dict[str, Any]) -> dict[str, Any]:
    """`bom` with the jars in the component they are in."""
    (torchserve,) = [each for each in bom["components"] if each["name"] == "torchserve"]
    torchserve["components"] = jars()
    return bom


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "swinserve.cdx.json")
    output: Path = parser.parse_args().output
    text = json.dumps(with_jars(locked(ROOT / "requirements" / "serve.txt")), indent=2) + "\n"
    if error := JsonStrictValidator(VERSION).validate_str(text):
        sys.exit(f"not a CycloneDX file: {error}")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text)
    print(f"{output}: {len(json.loads(text)['components'])} packages, {len(jars())} jars")


if __name__ == "__main__":
    main()
