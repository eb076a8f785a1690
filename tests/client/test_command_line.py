"""`swinserve`: tables, JSON lines, exit codes, over both protocols."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from swinserve import __version__
from swinserve.cli import main

from .conftest import Service
from .contract import MODEL, TIMING
from .test_models import DESCRIBED

Run = Callable[..., Result]
SWINSERVE = [sys.executable, "-c", "from swinserve.cli import main; main(prog_name='swinserve')"]


@pytest.fixture
def run(service: Service) -> Run:
    def run(*args: str, **options: object) -> Result:
        return CliRunner(env={"SWINSERVE_SERVER": service.url}).invoke(main, args, prog_name="swinserve", **options)

    return run


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three files in the working folder; the middle one is bad."""
    monkeypatch.chdir(tmp_path)
    for name, content in {"a.png": b"a", "bad.png": b"bad UNDECODABLE", "c.png": b"c"}.items():
        Path(name).write_bytes(content)
    return ["a.png", "bad.png", "c.png"]


def test_people_get_a_table(run: Run, images: list[str]) -> None:
    result = run("classify", "a.png")
    assert (result.exit_code, result.stderr) == (0, "")
    row = next(line for line in result.stdout.splitlines() if "a.png" in line)
    assert row.split()[:3] == ["a.png", "three", "75.0%"]
    assert row.split()[-1] == "10.0"
    assert "━" in row
    assert "\x1b" not in result.stdout


def test_a_bad_file_is_listed_and_does_not_stop_the_others(run: Run, images: list[str]) -> None:
    result = run("classify", *images, "missing.png")
    assert result.exit_code == 1
    assert "a.png" in result.stdout
    assert "c.png" in result.stdout
    bad, missing, total = result.stderr.splitlines()
    assert bad.startswith("swinserve: bad.png: refused: UNDECODABLE (UNDECODABLE, request ")
    assert missing == "swinserve: missing.png: cannot read the file: No such file or directory (UNREADABLE_FILE)"
    assert total == "swinserve: 2 of 4 files failed"


def test_one_bad_file_alone_is_listed_too(run: Run, images: list[str]) -> None:
    result = run("classify", "bad.png")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "bad.png: refused" in result.stderr


def test_programs_get_one_object_a_file_in_order(run: Run, service: Service, images: list[str]) -> None:
    result = run("classify", "--json", "missing.png", *images)
    assert (result.exit_code, result.stderr) == (1, "")
    missing, good, bad, last = map(json.loads, result.stdout.splitlines())
    request_id = service.seen[0].request_id
    assert good == {
        "file": "a.png",
        "model": "swin_digits",
        "version": "1",
        "predictions": [
            {"label": "three", "index": 3, "score": 0.75},
            {"label": "one", "index": 1, "score": 0.25},
        ],
        "timing": TIMING,
        "request_id": request_id,
    }
    error = {"code": "INVALID_ARGUMENT", "reason": "UNDECODABLE", "message": "refused: UNDECODABLE"}
    assert bad == {"file": "bad.png", "error": error, "request_id": request_id}
    assert missing["error"]["reason"] == "UNREADABLE_FILE"
    assert last["file"] == "c.png"


def test_many_files_go_several_a_call(run: Run, service: Service, images: list[str]) -> None:
    result = run("classify", "--json", "--concurrency", "64", *["a.png"] * 17)
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 17
    assert sorted(len(asked.images) for asked in service.seen) == [1, 16]


def test_a_dash_is_standard_input_and_every_option_arrives(run: Run, service: Service) -> None:
    options = ["--model", "swin", "--model-version", "2", "--top-k", "3", "--min-score", "0.25", "--timeout", "25"]
    assert run("classify", "-", *options, input=b"piped").exit_code == 0
    (asked,) = service.seen
    assert (asked.images, asked.model, asked.version) == ([b"piped"], "swin", "2")
    assert (asked.top_k, asked.min_score) == (3, 0.25)
    assert asked.timeout == pytest.approx(25, abs=5)


def test_a_call_that_fails_is_listed_for_each_of_its_files(run: Run, images: list[str]) -> None:
    result = run("classify", "--json", *images, "--model", "fail WORKER_LOST", "--timeout", "0.9")
    assert result.exit_code == 1
    assert [json.loads(line)["error"]["reason"] for line in result.stdout.splitlines()] == ["WORKER_LOST"] * 3


def test_a_service_that_is_not_ready_ends_it_with_3(run: Run, images: list[str]) -> None:
    result = run("classify", *images, "--model", "fail NOT_READY", "--timeout", "2")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("swinserve: refused: NOT_READY (NOT_READY, request ")


@pytest.mark.parametrize("command", [["classify", "a.png", "c.png"], ["served"]])
def test_nobody_listening_is_one_line_and_exit_code_3(nobody: str, images: list[str], command: list[str]) -> None:
    result = CliRunner().invoke(main, [*command, "--server", nobody])
    assert (result.exit_code, result.stdout) == (3, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"swinserve: cannot reach {nobody}: ")
    assert "swinserve serve" in line


@pytest.mark.parametrize(
    "args",
    [
        ["classify"],
        ["classify", "a.png", "--top-k", "-1"],
        ["classify", "a.png", "--min-score", "2"],
        ["classify", "a.png", "--timeout", "0"],
        ["classify", "a.png", "--server", "ftp://host"],
        ["classify", "a.png", "--model-version", "2"],
        ["nothing"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2(args: list[str]) -> None:
    result = CliRunner().invoke(main, args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr


def test_what_is_served_is_listed_for_people_and_for_programs(run: Run) -> None:
    table = run("served")
    assert table.exit_code == 0
    row = "swin_digits 1 yes 32×64 4 labels, embedding 3, maps 2×3 eager float32 random"
    assert row in " ".join(table.stdout.split())
    assert json.loads(run("served", "--json").stdout) == MODEL


def test_people_who_ask_see_why_a_backend_serves_and_how_fast_each_was(run: Run) -> None:
    result = run("served", "--verbose")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(run("served").stdout)
    told = [line.split() for line in result.stdout.removeprefix(run("served").stdout).splitlines()]
    assert told[1] == ["swin_digits", "1:", "the", "fake's", "choice"]
    assert told[2][-2:] == ["*", "chosen"]
    assert told[3] == ["Backend", "batch", "1", "batch", "2"]
    assert told[-2:] == [["native", "125.0*"], ["eager", "100.0*", "100.0"]]


def test_a_model_for_which_nothing_was_timed_has_no_table_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    from swinserve.commands.table import print_backends

    print_backends(replace(DESCRIBED, backend="", backend_reason="", backend_timings=()))
    assert capsys.readouterr().out == "\nswin_digits 1: no worker has answered yet\n"


def test_no_prediction_over_the_minimum_still_has_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    from swinserve.commands.outcome import FileOutcome
    from swinserve.commands.table import print_outcomes

    print_outcomes([FileOutcome("[red]a.png")], "no score reaches the minimum")
    row, why = capsys.readouterr().out.splitlines()[-2:]
    assert row.split()[:3] == ["[red]a.png", "no", "class"]
    assert why == "(no score reaches the minimum)"


def test_the_version_and_the_exit_codes_are_told(run: Run) -> None:
    assert run("--version").stdout == f"swinserve {__version__}\n"
    assert "130  interrupted" in run("--help").stdout


def test_a_process_of_its_own_prints_json_lines(service: Service, images: list[str]) -> None:
    command = [*SWINSERVE, "classify", "--json", "--server", service.url, "-"]
    done = subprocess.run(command, input=b"piped", capture_output=True, check=True, timeout=60)
    assert json.loads(done.stdout)["predictions"][0]["label"] == "three"
    assert done.stderr == b""


def test_ctrl_c_ends_it_quietly_with_130(service: Service, images: list[str]) -> None:
    command = [*SWINSERVE, "classify", "--server", service.url, "--timeout", "60", "--model", "hang", "a.png"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while not service.seen and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == 130
