"""The Kustomize files -> what a cluster would get: one YAML file for every combination that is promised to work.

`make manifests` runs it; the tests check what it writes. Kubernetes' own kubectl renders, without a cluster.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMPONENTS = sorted(path.parent.name for path in (HERE / "components").glob("*/kustomization.yaml"))
OVERLAYS = sorted(path.parent.name for path in (HERE / "overlays").glob("*/kustomization.yaml"))

COMBINATIONS: dict[str, tuple[str, Sequence[str]]] = {
    **{overlay: (overlay, ()) for overlay in OVERLAYS},
    **{f"cpu+{component}": ("cpu", [component]) for component in COMPONENTS},
    "gpu+monitoring+autoscaling-keda+gateway-api": ("gpu", ["monitoring", "autoscaling-keda", "gateway-api"]),
}
"""Name -> its overlay and the components on it."""


def kustomization(folder: Path, overlay: str, components: Sequence[str]) -> str:
    """The text of one in `folder`, as a user would write it in a folder of their own."""
    lines = ["apiVersion: kustomize.config.k8s.io/v1beta1", "kind: Kustomization", "namespace: swinserve"]
    lines += ["resources:", f"  - {os.path.relpath(HERE / 'overlays' / overlay, folder)}"]
    if components:
        lines += ["components:", *(f"  - {os.path.relpath(HERE / 'components' / each, folder)}" for each in components)]
    return "\n".join(lines) + "\n"


def rendered(overlay: str, components: Sequence[str]) -> str:
    """Raises CalledProcessError, with kubectl's words in `stderr`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        (folder / "kustomization.yaml").write_text(kustomization(folder, overlay, components))
        command = ["kubectl", "kustomize", str(folder)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=HERE.parents[1] / "out" / "manifests")
    output: Path = parser.parse_args().output
    if shutil.which("kubectl") is None:
        sys.exit("kubectl is not installed; 1.32 is known to render (https://kubernetes.io/docs/tasks/tools/)")
    output.mkdir(parents=True, exist_ok=True)
    for name, (overlay, components) in COMBINATIONS.items():
        try:
            text = rendered(overlay, components)
        except subprocess.CalledProcessError as error:
            sys.exit(f"{name}: {error.stderr}")
        path = output / f"{name}.yaml"
        path.write_text(text)
        print(path)


if __name__ == "__main__":
    main()
