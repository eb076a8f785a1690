"""`swinserve doctor`: what the parts tell -> a table or JSON lines, and the exit code."""

import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

from swinserve.cli import main
from swinserve.commands import doctor

OK, WARN, FAIL = (
    ("disk", "ok", "much", ""),
    ("port", "warn", "taken", "take another"),
    ("Java", "fail", "none", "get it"),
)
Announce = Callable[..., None]


@pytest.fixture
def announce(monkeypatch: pytest.MonkeyPatch) -> Announce:
    """Makes parts be found: name -> what its checks do."""

    def announce(**parts: Callable[..., Iterator[tuple[str, ...]]]) -> None:
        module = ModuleType("part_of_the_test")
        vars(module).update(parts)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        entries = [EntryPoint(name, f"part_of_the_test:{name}", "swinserve.checks") for name in parts]
        monkeypatch.setattr(doctor, "entry_points", lambda **query: EntryPoints(entries).select(**query))

    return announce


def run(*args: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *args], prog_name="swinserve")


def gives(*checks: tuple[str, ...]) -> Callable[..., Iterator[tuple[str, ...]]]:
    return lambda **_: iter(checks)


def test_a_failure_has_its_advice_below_it_and_exit_code_1(announce: Announce) -> None:
    announce(first=gives(OK, FAIL), second=gives(WARN))
    result = run()
    assert result.exit_code == 1
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["disk", "ok", "much"] in lines
    assert lines[lines.index(["Java", "fail", "none"]) + 1] == ["→", "get", "it"]
    assert lines[lines.index(["port", "warn", "taken"]) + 1] == ["→", "take", "another"]
    assert lines[-1] == ["1", "of", "5", "checks", "failed,", "1", "warned."]  # with Python's and our own


@pytest.mark.parametrize(
    ("check", "said"), [(OK, "Everything is well."), (WARN, "Nothing failed; 1 of 3 checks warned.")]
)
def test_without_a_failure_the_exit_code_is_0(announce: Announce, check: tuple[str, ...], said: str) -> None:
    announce(first=gives(check))
    result = run()
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, said)


def test_programs_get_one_object_a_check(announce: Announce) -> None:
    announce(first=gives(FAIL))
    result = run("--json")
    python, ours, java = map(json.loads, result.stdout.splitlines())
    assert (result.exit_code, python["what"], ours["what"]) == (1, "Python", "swinserve")
    assert java == {"what": "Java", "verdict": "fail", "found": "none", "advice": "get it"}


def test_the_parts_hear_what_was_asked(announce: Announce, tmp_path: Path) -> None:
    heard: list[dict[str, object]] = []

    def part(**asked: object) -> Iterator[tuple[str, ...]]:
        heard.append(asked)
        return iter([OK])

    announce(first=part)
    (tmp_path / "serve.toml").touch()
    run("--model-store", str(tmp_path), "--config", str(tmp_path / "serve.toml"))
    assert heard == [{"model_store": tmp_path, "config": tmp_path / "serve.toml"}]


def lacks(module: str) -> Callable[..., Iterator[tuple[str, ...]]]:
    def part(**_: object) -> Iterator[tuple[str, ...]]:
        raise ModuleNotFoundError(name=module)

    return part


def test_the_plain_install_is_a_warning_that_says_what_the_extra_adds(announce: Announce) -> None:
    announce(gateway=lacks("pydantic"), handler=lacks("torch"))
    result = run("--json")
    check = json.loads(result.stdout.splitlines()[-1])
    assert (result.exit_code, check["verdict"]) == (0, "warn")
    assert check["found"] == "not installed (there is no module pydantic and no torch)"
    assert check["advice"].startswith("pip install 'swinserve[serve]'")


def test_half_a_service_is_a_failure(announce: Announce) -> None:
    announce(gateway=gives(OK), handler=lacks("torch"))
    result = run("--json")
    check = json.loads(result.stdout.splitlines()[-1])
    assert (result.exit_code, check["verdict"], check["found"]) == (1, "fail", "there is no module torch")


def test_a_check_that_breaks_is_a_failure_and_hides_no_other(announce: Announce) -> None:
    def breaks(**_: object) -> Iterator[tuple[str, ...]]:
        yield OK
        raise OSError("libcudart.so: cannot open shared object file")

    announce(gateway=gives(WARN), handler=breaks, last=gives(FAIL))
    verdicts = {check["what"]: check for check in map(json.loads, run("--json").stdout.splitlines())}
    assert {"port", "disk", "Java"} < set(verdicts)
    broken = verdicts["checks of the handler"]
    assert (broken["verdict"], broken["found"]) == ("fail", "OSError: libcudart.so: cannot open shared object file")
