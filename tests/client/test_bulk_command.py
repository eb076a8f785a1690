"""`swinserve classify` with many files: folders, output files, going on, the bar; over both protocols."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from swinserve.cli import main
from swinserve.commands.tally import LISTED, Tally
from tests.gateway.certificates import Authority

from .conftest import FAKES, Service
from .contract import Asked, Certificate

Run = Callable[..., Result]
SWINSERVE = [sys.executable, "-c", "from swinserve.cli import main; main(prog_name='swinserve')"]


@pytest.fixture
def run(service: Service) -> Run:
    def run(*args: str, **options: object) -> Result:
        env = {"SWINSERVE_SERVER": service.url}
        return CliRunner(env=env).invoke(main, ["classify", *args], prog_name="swinserve", **options)

    return run


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty images in a folder; number 7 is bad."""
    monkeypatch.chdir(tmp_path)
    folder = Path("photos")
    folder.mkdir()
    for i in range(40):
        (folder / f"{i:02}.png").write_bytes(b"bad UNDECODABLE" if i == 7 else b"%d" % i)
    return folder


def lines(path: str = "out.jsonl") -> list[dict[str, object]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_a_folder_goes_into_a_file_in_order_and_what_failed_is_told(run: Run) -> None:
    result = run("photos", "--output", "out.jsonl")
    assert (result.exit_code, result.stdout) == (1, "")
    bad, count, summary = result.stderr.splitlines()
    assert bad.startswith("swinserve: photos/07.png: refused: UNDECODABLE")
    assert count == "swinserve: 1 of 40 files failed"
    assert summary.startswith("swinserve: 40 files in ")
    assert summary.endswith(" images/s); 0 were in out.jsonl already")
    assert [line["file"] for line in lines()] == [f"photos/{i:02}.png" for i in range(40)]
    assert "error" in lines()[7]


def test_the_same_command_goes_on_and_tries_again_what_failed(run: Run, service: Service, photos: Path) -> None:
    run("photos", "--output", "out.csv")
    (photos / "07.png").write_bytes(b"mended")
    (photos / "99.png").write_bytes(b"new")
    service.seen.clear()
    result = run("photos", "--output", "out.csv")
    assert result.exit_code == 0
    assert result.stderr.startswith("swinserve: 2 files in ")
    assert result.stderr.endswith("; 39 were in out.csv already\n")
    assert [image for asked in service.seen for image in asked.images] == [b"mended", b"new"]
    service.seen.clear()
    assert run("photos", "--output", "out.csv").exit_code == 0
    assert not service.seen


def test_a_list_and_globs_are_inputs_too(run: Run) -> None:
    result = run("photos/0[0-3].png", "--files-from", "-", "--output", "out.jsonl", input="photos/09.png\n")
    assert result.exit_code == 0
    assert [str(line["file"])[-6:-4] for line in lines()] == ["00", "01", "02", "03", "09"]


def test_embeddings_of_what_an_earlier_run_found_would_be_missing(run: Run, service: Service) -> None:
    run("photos/00.png", "--output", "out.jsonl")
    service.seen.clear()
    result = run("photos", "--output", "out.jsonl", "--embedding", "rows.npy")
    assert result.exit_code == 2
    assert "rows.npy would lack the files that out.jsonl has already" in result.stderr
    assert not service.seen


@pytest.mark.parametrize(
    "args", [["photos", "-o", "x.png"], ["photos", "-o", "no/x.csv"], ["photos", "--json", "-o", "x.csv"]]
)
def test_an_output_that_cannot_be_is_exit_code_2(run: Run, service: Service, args: list[str]) -> None:
    assert run(*args).exit_code == 2
    assert not service.seen


def test_many_files_come_in_several_tables(run: Run) -> None:
    result = run(*["photos/00.png"] * 101)
    assert result.exit_code == 0
    assert result.stdout.count("Label") == 2
    assert result.stdout.count("photos/00.png") == 101


def test_only_the_first_failures_are_listed_where_an_output_file_has_all(run: Run, photos: Path) -> None:
    for i in range(LISTED + 5):
        (photos / f"bad{i}.png").write_bytes(b"bad UNDECODABLE")
    bad = [f"photos/bad{i}.png" for i in range(LISTED + 5)]
    kept = run(*bad, "--output", "out.jsonl")
    assert kept.exit_code == 1
    *_, count, _ = told = kept.stderr.splitlines()
    assert (len(told), len(lines())) == (LISTED + 2, LISTED + 5)
    assert count == f"swinserve: {LISTED + 5} of {LISTED + 5} files failed; 5 are not listed here"
    every = run(*bad)
    assert len(every.stderr.splitlines()) == LISTED + 6
    assert every.stderr.endswith(f"swinserve: {LISTED + 5} of {LISTED + 5} files failed\n")


def test_pictures_are_named_alike_by_every_run(run: Run, photos: Path) -> None:
    command = ("photos/00.png", "photos/01.png", "--cam", "out.png", "--output", "out.jsonl")
    (photos / "01.png").write_bytes(b"bad UNDECODABLE")
    assert run(*command).exit_code == 1
    Image.new("RGB", (40, 30), "teal").save(photos / "01.png")
    mended = run(*command)
    assert (mended.exit_code, mended.exception) == (0, None)
    assert Path("out-01.png").exists()
    assert not Path("out.png").exists()
    again = run(*command)
    assert (again.exit_code, again.exception) == (0, None)
    assert run("photos/00.png", "deep/00.png", *command[2:]).exit_code == 2  # one of them is done, and has its picture


def test_standard_input_is_another_image_each_time(run: Run, service: Service) -> None:
    for content in (b"one", b"two"):
        assert run("-", "--output", "out.jsonl", input=content).exit_code == 0
    assert [asked.images for asked in service.seen] == [[b"one"], [b"two"]]
    assert [line["file"] for line in lines()] == ["-", "-"]


def test_a_file_that_is_named_twice_is_in_the_output_once(run: Run) -> None:
    assert run("photos/00.png", "photos/0[01].png", "--output", "out.jsonl").exit_code == 0
    assert [line["file"] for line in lines()] == ["photos/00.png", "photos/01.png"]


@pytest.mark.parametrize("reason", ["UNAUTHENTICATED", "PERMISSION_DENIED", "MODEL_NOT_FOUND"])
def test_what_every_file_would_fail_with_ends_it_at_once(run: Run, reason: str) -> None:
    result = run("photos", "--output", "out.jsonl", "--model", f"fail {reason}")
    assert result.exit_code == 1
    assert [line for line in result.stderr.splitlines() if f"refused: {reason} ({reason}, request " in line]
    assert ("SWINSERVE_TOKEN" in result.stderr) == (reason == "UNAUTHENTICATED")
    assert "photos/" not in result.stderr
    assert not Path("out.jsonl").exists()  # so that the next run tries them all


def test_a_tally_says_how_fast() -> None:
    now = iter([10.0, 12.0])
    tally = Tally(lists=True, clock=lambda: next(now))
    tally.done = 2500
    assert str(tally) == "2,500 files in 2.0 s (1250 images/s)"


def test_a_terminal_sees_a_bar_and_no_one_else_does(service: Service) -> None:
    command = [*SWINSERVE, "classify", "photos", "-o", "out.jsonl", "--server", service.url]
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": "100", "TERM": "xterm"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
        os.close(theirs)
        seen = b""
        while chunk := _read(ours):
            seen += chunk
        assert process.communicate(timeout=60)[0] == b""
    os.close(ours)
    assert b"40/40" in seen
    assert b"images/s" in seen
    assert b"1 of 40 files failed" in seen
    assert process.returncode == 1


@pytest.mark.parametrize("wrong", [["--server", "ftp://host"], ["--cam", "photos/00.jpg"]])
def test_on_a_terminal_a_wrong_command_line_shows_no_bar(wrong: list[str]) -> None:
    ours, theirs = pty.openpty()
    command = [*SWINSERVE, "classify", "photos", "-o", "out.jsonl", *wrong]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=theirs, env=os.environ | {"TERM": "xterm"}
    ) as process:
        os.close(theirs)
        seen = b""
        while chunk := _read(ours):
            seen += chunk
        assert process.wait(60) == 2
    os.close(ours)
    assert b"Error: " in seen
    assert b"images/s" not in seen
    assert b"\x1b[?25l" not in seen  # which hides the cursor


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux tells that nobody writes there any more
        return b""


def test_ctrl_c_keeps_what_is_written_and_exits_with_130(service: Service) -> None:
    run = [*SWINSERVE, "classify", "--server", service.url, "--timeout", "60", "-o", "out.jsonl"]
    assert subprocess.run([*run, "photos/00.png"], capture_output=True).returncode == 0
    service.seen.clear()
    with subprocess.Popen([*run, "photos", "--model", "hang"], stderr=subprocess.PIPE) as other_model:
        assert b"the model swin_digits, not hang" in other_model.communicate(timeout=60)[1]
    Path("photos/01.png").write_bytes(b"hang")
    with subprocess.Popen([*run, "photos"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while not _holds(service.seen, b"hang") and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=30)[1].decode()
    assert process.returncode == 130
    assert told.splitlines()[-1].endswith("; 1 were in out.jsonl already")
    assert lines()[0]["file"] == "photos/00.png"


def _holds(seen: list[Asked], image: bytes) -> bool:
    return any(image in asked.images for asked in seen)


@pytest.mark.parametrize("protocol", FAKES)
def test_certificates_and_the_token_come_from_options_and_the_environment(tmp_path: Path, protocol: str) -> None:
    authority = Authority()
    server, caller, ca = authority.issue(tmp_path / "a"), authority.issue(tmp_path / "b"), authority.write(tmp_path)
    seen: list[Asked] = []
    with FAKES[protocol].serve(seen, Certificate(server.certificate, server.key, ca)) as url:
        environment = {"SWINSERVE_SERVER": url, "SWINSERVE_TOKEN": "hush\n", "SWINSERVE_CA": str(ca)}
        identity = ["--cert", str(caller.certificate), "--key", str(caller.key)]
        for command in (["classify", "photos/00.png"], ["served"]):
            result = CliRunner(env=environment).invoke(main, [*command, *identity])
            assert result.exit_code == 0, result.stderr
        refused = CliRunner(env=environment).invoke(main, ["served"])
    assert [asked.authorization for asked in seen] == ["Bearer hush"] * 2
    assert refused.exit_code == 3
    assert "hush" not in refused.output
