"""The service as in its container: first process, read-only root, the image's environment, no compiler."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import swinserve
from tests.deploy.dockerfile import ROOT, environment
from tests.e2e.running import SWINSERVE, Running, get, gone, service, until, value

NAMESPACES = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
READ_ONLY = 'mount --rbind /tmp /tmp && mount -o remount,bind,ro / && cd / && exec "$@"'


@pytest.fixture(scope="module")
def contained(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    if subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode and not os.environ.get("CI"):
        pytest.skip("this machine allows no namespaces")
    ours = {"PATH": str(SWINSERVE.parent), "SWINSERVE_HOST": "127.0.0.1", "SWINSERVE_MODEL_STORE": str(store)}
    ours |= {
        name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ
    }  # a checkout beside the installed
    variables = (f"{name}={value}" for name, value in (environment("cpu") | ours).items())
    prefix = (*NAMESPACES, "sh", "-c", READ_ONLY, "sh", shutil.which("env") or "", "-i", *variables)
    with service(tmp_path_factory.mktemp("contained"), prefix=prefix) as running:
        yield running


def first(running: Running) -> psutil.Process:
    """The gateway, process 1 of its namespace."""
    (process,) = psutil.Process(running.pid).children()
    return process


def test_it_classifies_over_both_protocols_with_what_was_compiled_ahead(contained: Running, digit: Path) -> None:
    gateway = first(contained)
    assert gateway.environ()["HOME"] == "/tmp"
    assert not [name for name in ("cc", "gcc", "g++", "clang++") if shutil.which(name, path=gateway.environ()["PATH"])]
    with pytest.raises(OSError, match="Read-only file system"):
        Path(f"/proc/{gateway.pid}/root{ROOT}/written").touch()
    for url in (contained.http, contained.grpc):
        with swinserve.Client(url) as client:
            assert client.classify(digit).results[0].predictions[0].label == digit.name.split("-")[0]
    assert value(get(contained.metrics), "engine_fallback") == 0


def test_what_a_probes_shell_leaves_behind_stays_no_zombie(contained: Running) -> None:
    gateway = first(contained)
    (jvm,) = gateway.children()
    enter = ("nsenter", f"--target={gateway.pid}", "--user", "--preserve-credentials", "--pid", "--")
    subprocess.run([*enter, "sh", "-c", "sleep 0.2 &"], check=True)
    until(lambda: len(gateway.children()) == 2, 10)
    until(lambda: gateway.children() == [jvm], 10)


def test_sigterm_drains_and_ends_it_with_0(contained: Running) -> None:
    gateway = first(contained)
    processes = [gateway, *gateway.children(recursive=True)]
    gateway.send_signal(signal.SIGTERM)
    assert contained.process.wait(40) == 0, contained.log
    assert gone(processes)
