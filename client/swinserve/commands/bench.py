"""`swinserve bench URL`: how fast a running service answers, and where the time goes."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from swinserve.client import Client

from . import options

if TYPE_CHECKING:
    from .load import Load

CONCURRENCY, CONCURRENCY_OF_OPEN_LOOP = 8, 128


@click.command()
@click.argument("url", envvar="SWINSERVE_SERVER", default="grpc://127.0.0.1:8001")
@click.argument("images", nargs=-1, metavar="[IMAGE]...", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", default="", help="The served name.  [default: the service's first model]")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True, max=3600),
    default=10.0,
    show_default=True,
    help="How long to measure. What is under way then is waited for.",
)
@click.option(
    "--warm-up",
    metavar="SECONDS",
    type=click.FloatRange(0, 600),
    default=2.0,
    show_default=True,
    help="Before that: calls that are not counted.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1000),
    help="Calls at a time, each on a connection of its own; with --rate, the most at a time.  [default: "
    f"{CONCURRENCY}; with --rate {CONCURRENCY_OF_OPEN_LOOP}]",
)
@click.option(
    "--rate",
    metavar="CALLS",
    type=click.FloatRange(min=0, min_open=True),
    help="Send so many calls a second, whether answers come or not. A call's time counts from when it was due.  "
    "[default: the next as soon as one is answered]",
)
@click.option(
    "--images-per-call", type=click.IntRange(1, 64), default=1, show_default=True, help="Images in each call."
)
@options.timeout
@click.option("--json", "as_json", is_flag=True, help="One JSON object for programs; times in seconds.")
@click.option("--csv", "as_csv", is_flag=True, help="The same as CSV, a line of names and a line of values.")
def bench(
    url: str,
    images: tuple[Path, ...],
    model: str,
    concurrency: int | None,
    rate: float | None,
    seconds: float,
    warm_up: float,
    images_per_call: int,
    timeout: float,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Measure how fast a running service answers.

    URL is grpc://host:port, http://… or https://…, by default SWINSERVE_SERVER or grpc://127.0.0.1:8001. IMAGEs are
    sent in turn; without any, a synthetic PNG of 256×256 is. Shown are images a second, the quantiles of a call's time
    and of the service's own stages, and what failed by its reason. `the rest` of a call is the network, the gateway and
    this client, which shares the CPUs if it runs on the service's machine.

    Ctrl-C ends it early and shows what was measured. Exit codes: 0 everything was answered, 1 something failed, 2 the
    command line is wrong, 3 unreachable or not ready at the start, 130 ended by ctrl-C.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    # Imported here: numpy and rich take longer than --help may.
    from . import synthetic
    from .bench_report import Report
    from .load import Load, Plan

    contents = tuple(path.read_bytes() for path in images) or (synthetic.png(),)
    plan = Plan(
        images=contents,
        model=model,
        images_per_call=images_per_call,
        concurrency=concurrency or (CONCURRENCY if rate is None else CONCURRENCY_OF_OPEN_LOOP),
        rate=rate,
        seconds=seconds,
        warm_up=warm_up,
    )
    # Whoever cannot be reached, or has no such model, is told of at once.
    with _connect(url, timeout) as client:
        served = client.classify(contents[0], model=model)
    load = Load(plan, lambda: _connect(url, timeout))
    interrupted = _run(load, warm_up, seconds)
    report = Report(url, served, _in_words(images, contents), plan, load.measured, interrupted)
    if as_json:
        click.echo(json.dumps(report.facts()))
    elif as_csv:
        click.echo(report.csv())
    else:
        report.print()
    if interrupted:
        raise click.exceptions.Exit(130)
    if load.measured.errors or not load.measured.images:
        raise click.exceptions.Exit(1)


def _connect(url: str, timeout: float) -> Client:
    try:
        return Client(url, timeout=timeout)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="URL") from error


def _run(load: "Load", warm_up: float, seconds: float) -> bool:
    """Until it is over, with a bar where there is a terminal. Whether ctrl-C ended it."""
    from .progress import bar

    try:
        load.start()
        with bar(warm_up + seconds) as show:
            while not load.wait(0.1):
                measured = load.measured
                show(f"{measured.images} images, {measured.errors.total()} failed")
    except KeyboardInterrupt:
        load.stop()
        load.wait()
        return True
    return False


def _in_words(paths: tuple[Path, ...], contents: tuple[bytes, ...]) -> str:
    if not paths:
        return f"synthetic PNG, {len(contents[0]) / 1000:.0f} kB"
    mean = sum(map(len, contents)) / len(contents) / 1000
    return f"{paths[0].name}, {mean:.0f} kB" if len(paths) == 1 else f"{len(paths)} files, {mean:.0f} kB in the mean"
