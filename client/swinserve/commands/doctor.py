"""`swinserve doctor`: what this machine has and lacks, asked of every part that is installed -> a table, an exit code.

A part announces a callable in the entry-point group `swinserve.checks`. Called with `model_store` and `config`, each a
Path or None, it gives its checks as (what, verdict, found, advice), one after the other.
"""

import json
import platform
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import NamedTuple

import click

OLDEST_PYTHON = (3, 11)
SERVE = "pip install 'swinserve[serve]'"


class Check(NamedTuple):
    what: str
    verdict: str
    """ok, warn or fail"""
    found: str
    advice: str
    """What to do; "" where all is well."""


@click.command()
@click.option(
    "--model-store",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="SWINSERVE_MODEL_STORE",
    show_envvar=True,
    help="Where archives are.  [default: as for `swinserve serve`]",
)
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    envvar="SWINSERVE_CONFIG",
    show_envvar=True,
    help="The TOML file of `swinserve serve --config`.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON lines for programs, one a check.")
def doctor(model_store: Path | None, config: Path | None, as_json: bool) -> None:
    """Check this machine for what serving needs, and say what to do.

    Python, TorchServe, Java, torch, CPU, GPU, C++ compiler, ports, disk, every model archive, and whether its engine
    answers rightly here. Settings are those of `swinserve serve`: SWINSERVE_* and --config. Nothing is changed.

    Exit codes: 0 nothing fails (there may be warnings), 1 something does, 2 the command line is wrong.
    """
    found = []
    for check in _told(model_store, config):
        found.append(check)
        if as_json:
            click.echo(json.dumps(check._asdict()))
    if not as_json:
        from .check_table import print_checks

        print_checks(found)
    if any(check.verdict == "fail" for check in found):
        raise click.exceptions.Exit(1)


def _told(model_store: Path | None, config: Path | None) -> Iterator[Check]:
    """All checks; a terminal shows meanwhile that something happens, for torch takes seconds to import."""
    if not sys.stderr.isatty():
        yield from checks(model_store, config)
        return
    from rich.console import Console

    with Console(stderr=True).status("checking …") as status:
        for check in checks(model_store, config):
            status.update(f"checked {check.what} …")
            yield check


def checks(model_store: Path | None, config: Path | None) -> Iterator[Check]:
    """Python's, then those of each part. What is not installed is one warning, or a failure if it is half there."""
    yield _python()
    yield Check("swinserve", "ok", f"{version('swinserve')} ({Path(__file__).parents[1]})", "")
    missing: list[str] = []
    partly = False
    for entry in sorted(entry_points(group="swinserve.checks")):
        try:
            for check in entry.load()(model_store=model_store, config=config):
                partly = True
                yield Check(*check)
        except ModuleNotFoundError as error:
            missing.append(error.name or entry.module)
        # Whatever a broken machine makes a part raise has been found by that, and must not hide what the others find.
        except Exception as error:  # noqa: BLE001
            advice = "mend this first; what this part checks after it is not known"
            yield Check(f"checks of the {entry.name}", "fail", f"{type(error).__name__}: {error}", advice)
    if missing:
        yield _not_installed(missing, partly=partly)


def _python() -> Check:
    found = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info < OLDEST_PYTHON:
        return Check("Python", "fail", found, f"use Python {'.'.join(map(str, OLDEST_PYTHON))} or newer")
    return Check("Python", "ok", found, "")


def _not_installed(modules: Sequence[str], *, partly: bool) -> Check:
    found = f"there is no module {' and no '.join(sorted(set(modules)))}"
    if partly:
        return Check("the service", "fail", found, f"{SERVE}: the installation is incomplete")
    return Check(
        "the service", "warn", f"not installed ({found})", f"{SERVE}, to build and serve models on this machine"
    )
