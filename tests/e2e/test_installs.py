"""The wheel as users get it: the plain install is a client; the archive runs in a TorchServe that knows none of us."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from swin_gateway.java import find_java
from swin_gateway.torchserve import free_ports
from tests.e2e.running import curl, status, until

ROOT = Path(__file__).resolve().parents[2]
UV = ROOT / ".venv-tools" / "bin" / "uv"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bin/ of an environment with nothing but `pip install swinserve`, from the wheel, in the locked versions."""
    folder = tmp_path_factory.mktemp("plain")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    environment = folder / "venv"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, environment], check=True)
    install = [UV, "pip", "install", "--quiet", "--python", environment / "bin" / "python"]
    constraints = ["-c", ROOT / "requirements" / "serve.txt"]
    subprocess.run([*install, *constraints, next(folder.glob("*.whl"))], check=True)
    return environment / "bin"


def test_the_plain_install_has_a_client_and_no_torch(plain: Path) -> None:
    script = "import swinserve, importlib.util as u; assert not u.find_spec('torch'); print(swinserve.__version__)"
    result = subprocess.run([plain / "python", "-c", script], check=True, capture_output=True, text=True, cwd="/")
    assert result.stdout.strip()
    listed = subprocess.run([plain / "swinserve", "--help"], check=True, capture_output=True, text=True).stdout
    assert "classify" in listed
    assert "serve" in listed


@pytest.mark.parametrize("command", [["serve"], ["build", "swin_digits"]])
def test_a_command_of_the_server_says_what_to_install(plain: Path, command: list[str]) -> None:
    result = subprocess.run([plain / "swinserve", *command], capture_output=True, text=True)
    assert result.returncode == 2
    assert "pip install 'swinserve[serve]'" in result.stderr


def test_doctor_of_the_plain_install_says_what_the_extra_adds(plain: Path) -> None:
    result = subprocess.run([plain / "swinserve", "doctor"], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert "→ pip install 'swinserve[serve]', to build and serve models on this machine" in result.stdout


def test_completion_of_the_plain_install_offers_nothing_for_a_command_of_the_server(plain: Path) -> None:
    asked = {"COMP_WORDS": "swinserve serve --h", "COMP_CWORD": "2", "_SWINSERVE_COMPLETE": "bash_complete"}
    result = subprocess.run([plain / "swinserve"], capture_output=True, text=True, env=os.environ | asked)
    assert (result.returncode, result.stdout, result.stderr) == (0, "plain,--help\n", "")


@pytest.fixture(scope="module")
def stock_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that sees torch, timm and TorchServe, but none of our packages, which a .pth file adds here."""
    folder = tmp_path_factory.mktemp("stock")
    venv.create(folder, with_pip=False, symlinks=True)
    site = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


def test_the_wheel_carries_the_default_model(plain: Path, stock_python: Path, tmp_path: Path) -> None:
    """Unpacked beside the libraries and away from the repository, it builds and proves the default model's archive."""
    with zipfile.ZipFile(next(plain.parents[1].glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "wheel")
    script = "import swin_handler as h; assert 'wheel' in h.__file__; from swinserve.cli import main; main()"
    command = [stock_python, "-c", script, "build", "swin_digits", "--model-store", tmp_path / "store"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "wheel")}
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "store" / "swin_digits-1.0.mar").stat().st_size > 900_000


@pytest.fixture
def stock_torchserve(stock_python: Path, store: Path, tmp_path: Path) -> Iterator[str]:
    """`torchserve --start` as its documentation has it; the REST address."""
    rest, management, metrics, grpc, grpc_management = free_ports(5)
    properties = tmp_path / "config.properties"
    properties.write_text(
        f"inference_address=http://127.0.0.1:{rest}\nmanagement_address=http://127.0.0.1:{management}\n"
        f"metrics_address=http://127.0.0.1:{metrics}\ngrpc_inference_port={grpc}\n"
        f"grpc_management_port={grpc_management}\ndisable_system_metrics=true\n"
    )
    archive = next(store.glob("swin_digits-*.mar")).name
    start = "from ts.model_server import start; start()"
    options = ["--start", "--foreground", "--ncs", "--disable-token-auth", "--ts-config", properties]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [stock_python, "-c", start, *options, "--model-store", store, "--models", f"swin_digits={archive}"],
            cwd=tmp_path,
            env=os.environ | {"JAVA_HOME": str(find_java().resolve().parent.parent), "TMPDIR": str(tmp_path)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        address = f"http://127.0.0.1:{rest}"
        until(lambda: process.poll() is not None or status(f"{address}/ping") == 200, 60)
        yield address
    finally:
        for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            each.kill()
        process.wait(10)


def test_the_archive_runs_in_a_stock_torchserve(stock_python: Path, stock_torchserve: str, digit: Path) -> None:
    blind = subprocess.run([stock_python, "-c", "import swin_proto"], capture_output=True, text=True, cwd="/")
    assert "ModuleNotFoundError" in blind.stderr
    answer = curl("--fail-with-body", "--max-time", "60", "-T", digit, f"{stock_torchserve}/predictions/swin_digits")
    assert f'"{digit.name.split("-")[0]}"' in answer.splitlines()[1]
