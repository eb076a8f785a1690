"""What the whole house promises: versions agree, locks name no host, the wheel carries what it should."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import click
import pytest

import swinserve
from swinserve.cli import main

ROOT = Path(__file__).resolve().parents[1]


def test_version_changelog_and_package_agree() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest = re.search(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    assert declared == newest[1] == version("swinserve") == swinserve.__version__


@pytest.mark.parametrize(
    "lock",
    [*sorted((ROOT / "requirements").glob("*.txt")), ROOT / "deploy" / "ray" / "requirements.txt"],
    ids=lambda path: path.name,
)
def test_a_lock_has_hashes_and_names_no_host(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert "--index-url" not in text
    for pin in re.finditer(r"^[a-z0-9][\w.-]*(\[[\w,]+\])?==\S+.*\n(.*)", text, re.MULTILINE | re.IGNORECASE):
        assert "--hash=sha256:" in pin[2], pin[0]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_carries_the_default_model_and_the_plain_install_needs_no_torch(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    assert "swin_handler/build/swin_digits/model.safetensors" in names
    assert {"swin_proto/v1/classifier_pb2.pyi", "swinserve/py.typed"} <= names
    assert {"swin_gateway/page/index.html", "swin_gateway/page/files/page.js"} <= names
    assert wheel.stat().st_size < 3_000_000
    plain = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert {re.split(r"[ >=<;]", line.removeprefix("Requires-Dist: "))[0] for line in plain} == {
        *("click", "googleapis-common-protos", "grpcio", "httpx", "numpy", "protobuf", "rich")
    }


def test_the_stubs_and_the_client_run_on_protobuf_6_as_well() -> None:
    """The environment of requirements/proto.txt has protobuf 6; this one has 7."""
    python = ROOT / ".venv-proto" / "bin" / "python"
    script = (
        "import google.protobuf as p; from swin_proto.v1 import classifier_pb2 as c, classifier_pb2_grpc;"
        "from swin_proto.oip.v2 import inference_pb2, inference_pb2_grpc;"
        "from swin_proto.worker.v1 import job_pb2 as j; from swin_proto.torchserve import inference_pb2_grpc;"
        "m = c.ClassifyRequest(model='m', images=[c.Image(content=b'x')], options=c.ClassifyOptions(top_k=3));"
        "assert c.ClassifyRequest.FromString(m.SerializeToString()) == m;"
        "a = j.Answer(results=[j.Result(top_k=j.TopK(indices=[1], scores=[0.5]))]);"
        "assert j.Answer.FromString(a.SerializeToString()).results[0].WhichOneof('outcome') == 'top_k';"
        "print(p.__version__.split('.')[0])"
    )
    majors = []
    for interpreter in (python, Path(sys.executable)):
        command = [interpreter, "-W", "error", "-c", script]
        result = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT / "proto")})
        assert result.returncode == 0, result.stderr
        majors.append(result.stdout.strip())
    assert majors == ["6", "7"]


def test_every_command_is_in_the_page_of_exit_codes() -> None:
    page = (ROOT / "docs" / "reference" / "exit-codes.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert sorted(listed) == main.list_commands(click.Context(main))
