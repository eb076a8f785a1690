"""The load gate at small scale: a real service, real Locust processes, an SLO that decides."""

from __future__ import annotations

import csv
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.e2e.running import Running, gone, until

GATE = Path(__file__).resolve().parents[2] / "loadtests" / "load_gate.py"
SLO_BROKEN = 3


def gate(shared: Running, folder: Path, slo: str, *options: str | Path) -> subprocess.CompletedProcess[str]:
    (folder / "slo.toml").write_text(slo)
    command = [sys.executable, GATE, "--url", shared.http, "--grpc-url", shared.grpc, "--users", "4"]
    command += ["--slo", folder / "slo.toml", "--output", folder, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    print(done.stdout, done.stderr)
    return done


def test_users_of_both_protocols_in_several_processes_keep_the_slo(shared: Running, tmp_path: Path) -> None:
    slo = '["REST classify"]\nmax_error_ratio = 0\n["gRPC classify"]\nmax_error_ratio = 0'
    done = gate(shared, tmp_path, slo, "--processes", "2", "--time", "5s")
    assert done.returncode == 0
    with (tmp_path / "load_stats.csv").open() as file:
        counts = {(row["Type"], row["Name"]): int(row["Request Count"]) for row in csv.DictReader(file)}
    assert counts["REST", "classify"] > 0
    assert counts["gRPC", "classify"] > 0
    assert "2 workers connected" in done.stderr
    assert "classify" in (tmp_path / "load.html").read_text()
    assert "classify" in (tmp_path / "load_stats_history.csv").read_text()


def test_an_absurd_slo_and_a_wrong_label_fail_the_gate_and_are_named(
    shared: Running, tmp_path: Path, digit: Path
) -> None:
    mislabelled = shutil.copy(digit, tmp_path / "eleven-of-nothing.png")
    slo = '["REST classify"]\nmax_p99_seconds = 1e-6\n["gRPC classify"]\nmax_error_ratio = 0'
    done = gate(shared, tmp_path, slo, "--time", "3s", "--image", mislabelled)
    assert done.returncode == SLO_BROKEN
    assert "SLO BROKEN: REST classify max_p99_seconds" in done.stderr
    assert "SLO BROKEN: gRPC classify max_error_ratio 0, measured 1" in done.stderr
    assert "instead of the label eleven" in (tmp_path / "load_failures.csv").read_text()


def test_an_open_loop_sends_malformed_files_and_gets_the_right_errors(shared: Running, tmp_path: Path) -> None:
    slo = '["REST malformed"]\nmax_error_ratio = 0\n["gRPC malformed"]\nmax_error_ratio = 0'
    done = gate(shared, tmp_path, slo, "--time", "3s", "--rate", "5", "--tags", "malformed")
    with (tmp_path / "load_slo.csv").open() as file:
        verdicts = {(row["name"], row["limit"]): row for row in csv.DictReader(file)}
    # Whether it could send all of it is this machine's to say.
    sent = verdicts.pop(("open loop", "min_sent_ratio"))
    assert done.returncode == (0 if sent["kept"] == "True" else SLO_BROKEN)
    assert {row["kept"] for row in verdicts.values()} == {"True"}


def test_a_gate_on_a_service_of_its_own_ends_whole_when_it_is_interrupted(tmp_path: Path) -> None:
    command = [sys.executable, GATE, "--time", "10m", "--users", "2", "--processes", "2", "--output", tmp_path]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            history = tmp_path / "load_stats_history.csv"
            until(lambda: process.poll() is not None or (history.exists() and "classify" in history.read_text()), 150)
            started = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGINT)
            assert process.wait(90) in (130, SLO_BROKEN), (tmp_path / "log").read_text()
        finally:
            if process.poll() is None:
                for each in psutil.Process(process.pid).children(recursive=True):
                    each.kill()
            process.kill()
    assert len(started) >= 6, "Locust's three, the gateway, TorchServe and its worker"
    until(lambda: gone(started), 5)
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert (tmp_path / "load.html").exists()
