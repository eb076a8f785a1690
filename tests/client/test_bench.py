"""`swinserve bench`: a closed and an open loop against both fakes; what is counted, and how it ends."""

import csv
import io
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from swinserve.cli import main
from swinserve.client import Client
from swinserve.commands.load import Load, Plan
from swinserve.errors import DeadlineExceeded
from swinserve.results import Classification, ImageResult, Timing

from .conftest import Service
from .contract import TIMING

Run = Callable[..., Result]


@pytest.fixture
def run(service: Service) -> Run:
    def run(*args: str) -> Result:
        return CliRunner().invoke(main, ["bench", service.url, "--warm-up", "0", *args], prog_name="swinserve")

    return run


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    """A good and a bad one."""
    paths = [tmp_path / "a.png", tmp_path / "bad.png"]
    for path, content in zip(paths, (b"a", b"bad UNDECODABLE"), strict=True):
        path.write_bytes(content)
    return [str(path) for path in paths]


def test_people_see_the_rate_the_quantiles_and_the_stages(run: Run) -> None:
    result = run("--seconds", "0.3", "--concurrency", "2")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "swin_digits 1, eager in float32" in result.stdout
    assert "2 calls at a time, 1 image each (synthetic PNG, 30 kB)" in result.stdout
    rows = {line[:14].strip(): line[14:].split() for line in result.stdout.splitlines() if line[14:].split()}
    assert rows["queue"] == ["1.0"] * 4
    assert rows["inference"] == ["4.0"] * 4
    quantiles = [float(value) for value in rows["whole call"]]
    assert quantiles == sorted(quantiles)
    assert quantiles[0] > 0


def test_programs_get_everything_as_json_or_csv(run: Run) -> None:
    facts = json.loads(run("--seconds", "0.2", "--json").stdout)
    assert (facts["failed"], facts["errors"], facts["interrupted"], facts["concurrency"]) == (0, {}, False, 8)
    assert facts["images"] == facts["calls"] > 0
    assert facts["images_per_second"] == pytest.approx(facts["images"] / facts["seconds"])
    assert facts["batch_wait_p99_seconds"] == TIMING["batch_wait"]
    (row,) = csv.DictReader(io.StringIO(run("--seconds", "0.2", "--csv").stdout))
    assert list(row) == list(facts)
    assert float(row["decode_p50_seconds"]) == TIMING["decode"]
    assert run("--json", "--csv").exit_code == 2


def test_what_fails_is_counted_by_its_reason_and_is_exit_code_1(run: Run, images: list[str]) -> None:
    result = run(*images, "--seconds", "0.2", "--images-per-call", "2", "--json")
    facts = json.loads(result.stdout)
    assert result.exit_code == 1
    assert facts["errors"] == {"UNDECODABLE": facts["calls"]}
    assert facts["images"] == facts["calls"]
    table = run(*images, "--seconds", "0.2", "--concurrency", "1")
    assert "UNDECODABLE" in table.stdout
    assert table.exit_code == 1


def test_a_service_that_is_not_there_is_told_at_once(nobody: str) -> None:
    result = CliRunner().invoke(main, ["bench", nobody], prog_name="swinserve")
    assert result.exit_code == 3
    assert "cannot reach" in result.stderr
    assert CliRunner().invoke(main, ["bench", "ftp://x"], prog_name="swinserve").exit_code == 2


def plan(**changes: object) -> Plan:
    given = {"images": (b"a",), "model": "", "images_per_call": 1, "concurrency": 4}
    return Plan(**{**given, "rate": None, "seconds": 0.5, "warm_up": 0.0, **changes})


def test_an_open_loop_sends_what_is_due_and_no_more(service: Service) -> None:
    load = Load(plan(rate=40.0), lambda: Client(service.url))
    load.start()
    assert load.wait()
    assert len(service.seen) + load.measured.not_sent == 20
    assert load.measured.images == len(service.seen)


class Fake:
    """A client whose calls take as long as they are told, and are then answered, or stop short of their deadline."""

    def __init__(self, *seconds: float, fails: bool = False) -> None:
        """seconds: of the first calls; the others take the last's"""
        self.began: list[float] = []
        self._seconds, self._fails = seconds, fails

    def __enter__(self) -> "Fake":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def classify_many(self, images: list[bytes], *, model: str) -> Classification:
        self.began.append(time.monotonic())
        time.sleep(self._seconds[min(len(self.began), len(self._seconds)) - 1])
        if self._fails and len(self.began) > 1:
            raise DeadlineExceeded("too late", reason="DEADLINE_EXCEEDED")
        return Classification("swin", "1", "eager", "float32", (ImageResult(),), Timing(), "id")


def test_a_service_that_stalls_is_not_asked_less_for_it() -> None:
    client = Fake(0.1, fails=True)
    load = Load(plan(rate=100.0, concurrency=1), lambda: client)
    load.start()
    assert load.wait()
    calls = len(client.began)
    assert load.measured.images == 1
    assert load.measured.errors["DEADLINE_EXCEEDED"] == calls - 1
    assert calls + load.measured.not_sent == 50
    assert load.measured.not_sent >= 44  # each takes the time of ten


def test_what_waited_for_a_stalled_call_counts_its_waiting() -> None:
    client = Fake(0.1, 0.0)
    load = Load(plan(rate=100.0, concurrency=1), lambda: client)
    load.start()
    assert load.wait()
    first, second, third, *_ = load.measured.columns["call"]
    assert first >= 0.1
    # Due 10 and 20 ms after the first, they were sent when it had its answer.
    assert second >= 0.09
    assert third >= 0.08


def test_no_call_of_an_open_loop_comes_before_it_is_due() -> None:
    client = Fake(0.0)
    load = Load(plan(rate=100.0, seconds=0.2, concurrency=1), lambda: client)
    before = time.monotonic()
    load.start()
    assert load.wait()
    assert [number for number, began in enumerate(client.began) if began - before < number / 100] == []
    assert len(client.began) + load.measured.not_sent == 20


def test_the_warm_up_is_not_counted(service: Service) -> None:
    load = Load(plan(rate=40.0, warm_up=1.0, seconds=0.001), lambda: Client(service.url))
    load.start()
    assert load.wait()
    assert load.measured.images <= 1 < len(service.seen)


def test_stopping_ends_it_and_keeps_what_was_measured(service: Service) -> None:
    load = Load(plan(seconds=60.0), lambda: Client(service.url))
    load.start()
    while not load.measured.images:
        time.sleep(0.01)
    assert not load.wait(0)
    load.stop()
    assert load.wait()
    assert load.measured.images == len(load.measured.columns["call"]) > 0


def test_what_is_measured_changes_no_more_though_ctrl_c_hit_while_threads_were_started() -> None:
    begun, released = threading.Event(), threading.Event()

    class Held(Fake):
        def classify_many(self, images: list[bytes], *, model: str) -> Classification:
            begun.set()
            assert released.wait(30)
            return super().classify_many(images, model=model)

    load = Load(plan(concurrency=1), lambda: Held(0.0))
    load.start()
    assert begun.wait(30)
    load.stop()
    unnoted = load._threads.pop()
    assert load.wait()
    released.set()
    unnoted.join(30)
    assert (load.measured.images, len(load.measured.columns["call"])) == (0, 0)


def test_ctrl_c_shows_what_was_measured_and_ends_with_130(service: Service) -> None:
    script = "from swinserve.cli import main; main(prog_name='swinserve')"
    command = [sys.executable, "-c", script, "bench", service.url, "--seconds", "60", "--warm-up", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while len(service.seen) < 10 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    facts = json.loads(out)
    assert (process.returncode, err) == (130, b"")
    assert facts["interrupted"]
    assert facts["images"] > 0
