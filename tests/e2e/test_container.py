"""The service as in its container: first process, read-only root, the image's environment, no compiler.

Its user is a root that is mapped to whoever runs the tests: number 10001 takes a real container.
"""

from __future__ import annotations

import os
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import swinserve
from swin_handler.engine import compiler, cpu
from tests.e2e import in_image
from tests.e2e.running import SWINSERVE, Running, get, gone, service, until, value

NAMESPACES = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
READ_ONLY = 'mount --rbind /tmp /tmp && mount -o remount,bind,ro / && cd / && exec "$@"'


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store as the image has it: built without timing."""
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([SWINSERVE, "build", "swin_digits", "--model-store", folder, "--no-tune"], check=True)
    return folder


@pytest.fixture(scope="module")
def contained(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    if subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode and not os.environ.get("CI"):
        pytest.skip("this machine allows no namespaces")
    inside = in_image.prefix(SWINSERVE_HOST="127.0.0.1", SWINSERVE_MODEL_STORE=str(models))
    prefix = (*NAMESPACES, "sh", "-c", READ_ONLY, "sh", *inside)
    with service(tmp_path_factory.mktemp("contained"), prefix=prefix) as running:
        yield running
        if running.process.poll() is None:
            end(running)


def first(running: Running) -> psutil.Process:
    """The gateway, process 1 of its namespace."""
    (process,) = psutil.Process(running.pid).children()
    return process


def end(running: Running) -> None:
    """By a signal to the gateway: `unshare`, its parent, takes none."""
    first(running).terminate()
    assert running.process.wait(40) == 0, running.log


def test_its_root_cannot_be_written(contained: Running) -> None:
    gateway = first(contained)
    assert gateway.environ()["HOME"] == "/tmp"
    with pytest.raises(OSError, match="Read-only file system"):
        Path(f"/proc/{gateway.pid}/root/written").touch()


def test_it_classifies_over_both_protocols_with_what_was_compiled_ahead(
    contained: Running, models: Path, digit: Path
) -> None:
    backends = set()
    for url in (contained.http, contained.grpc):
        with swinserve.Client(url) as client:
            answer = client.classify(digit)
            backends.add(answer.backend)
            assert answer.results[0].predictions[0].label == digit.name.split("-")[0]
    assert value(get(contained.metrics), "engine_fallback") == 0
    with zipfile.ZipFile(next(models.glob("*.mar"))) as archive:
        compiled = [name for name in archive.namelist() if name.startswith("engine/native/")]
    able = cpu.has_avx512_bfloat16() and compiler.find() is not None
    assert (backends, bool(compiled)) == ({"native" if able else "eager"}, able)


def test_what_a_probes_shell_leaves_behind_stays_no_zombie(contained: Running) -> None:
    gateway = first(contained)
    (jvm,) = gateway.children()
    enter = ("nsenter", f"--target={gateway.pid}", "--user", "--preserve-credentials", "--pid", "--")
    subprocess.run([*enter, "sh", "-c", "sleep 3 &"], check=True)
    until(lambda: len(gateway.children()) == 2, 10)
    until(lambda: gateway.children() == [jvm], 20)


def test_sigterm_drains_and_ends_it_with_0(contained: Running) -> None:
    gateway = first(contained)
    processes = [gateway, *gateway.children(recursive=True)]
    end(contained)
    assert gone(processes)
