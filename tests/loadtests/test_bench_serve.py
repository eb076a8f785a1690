"""The serving benchmark's own arithmetic; that its servers answer is found by running it."""

from __future__ import annotations

import asyncio
import importlib
import io
import itertools
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image

from tests.e2e.running import until

LOADTESTS = Path(__file__).parents[2] / "loadtests"
MODULES = ("load", "rows", "figures", "goals", "waterfall", "picture", "report", "side", "turns")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, whose scripts import their neighbours as they do when they are run."""
    monkeypatch.setattr(sys, "path", [str(LOADTESTS), *sys.path])
    return SimpleNamespace(**{name: importlib.import_module(f"serve_bench.{name}") for name in MODULES})


def row(bench: Any, side: str, load: str, *, variant: str = "ours", number: int = 1, **values: float) -> Any:
    zeros = dict.fromkeys(bench.figures.MEASURES, 0.0)
    return bench.rows.Row(round=number, side=side, variant=variant, version="", load=load, images=9, **(zeros | values))


def run(bench: Any) -> list[Any]:
    """A run of two rounds, one of which was slow for us; a peer failed in it."""
    rows = []
    for number, slow in ((1, 1.0), (2, 2.0)):
        rows += [
            row(bench, bench.rows.IN_PROCESS, "batch 1", number=number, of_photos_ms=10, mean_ms=10),
            row(bench, bench.rows.IN_PROCESS, "batch 8", number=number, images_per_second=100 / slow),
            row(bench, bench.goals.NULL, "32 callers", number=number, server_cpu_ms=1.5),
        ]
        for side in ("gRPC", "REST"):
            rows += [
                row(bench, side, "1 caller", number=number, of_photos_ms=13 * slow),
                row(bench, side, "32 callers", number=number, images_per_second=95 / slow, memory_mb=1000),
                row(bench, side, "70 % evenly", number=number, p99_ms=25),
                row(bench, side, "70 % Poisson", number=number, p99_ms=60),
            ]
        for variant, rate in (("as documented", 40), ("with our engine", 98)):
            rows.append(row(bench, "mosec", "32 callers", variant=variant, number=number, images_per_second=rate / 2))
            if number == 1:
                found = row(bench, "LitServe", "32 callers", variant=variant, number=number, images_per_second=rate)
                rows.append(found)
    return rows


def test_photos_have_both_sizes_in_turns_and_the_detail_of_a_photo(bench: Any) -> None:
    found = importlib.import_module("photos").mixed()
    sizes = [Image.open(io.BytesIO(each)).size for each in found]
    assert sizes == [(500, 375), (1600, 1200)] * 3
    assert len(set(found)) == len(found)
    for image, (width, height) in zip(found, sizes, strict=True):
        assert len(image) > 0.1 * width * height  # bytes: a photo at quality 90 has a tenth to a third of its pixels


async def test_a_closed_loop_keeps_as_many_calls_going_as_there_are_callers(bench: Any) -> None:
    going, most, seen = 0, 0, set()

    async def call(image: bytes) -> dict[str, float]:
        nonlocal going, most
        going += 1
        most = max(most, going)
        seen.add(image)
        await asyncio.sleep(0.01)
        going -= 1
        return {"queue": 0.25}

    found = await bench.load.closed(call, [b"a", b"b"], callers=3, seconds=0.1)
    assert most == 3
    assert going == 0
    assert seen == {b"a", b"b"}
    assert len(found.latencies) == len(found.stages) >= 3
    assert found.images_per_second == len(found.latencies) / found.seconds


async def test_an_open_loop_counts_from_when_a_call_was_due(bench: Any) -> None:
    lock = asyncio.Lock()

    async def call(_image: bytes) -> dict[str, float]:
        async with lock:  # one at a time, slower than they come
            await asyncio.sleep(0.05)
        return {}

    found = await bench.load.open_loop(call, [b""], due=bench.load.even(50), seconds=0.2)
    assert len(found.latencies) == 10
    assert found.latencies[-1] > 0.3 - 0.02  # the tenth, due at 0.18, waits for nine others: until 0.5


async def test_a_call_that_fails_ends_the_load(bench: Any) -> None:
    async def call(_image: bytes) -> dict[str, float]:
        raise RuntimeError("500")

    with pytest.raises(ExceptionGroup):
        await bench.load.closed(call, [b""], callers=1, seconds=1)
    with pytest.raises(ExceptionGroup):
        await bench.load.open_loop(call, [b""], due=bench.load.even(10), seconds=1)


def test_arrivals_have_the_rate_that_was_asked_for(bench: Any) -> None:
    assert list(itertools.islice(bench.load.even(4), 3)) == [0, 0.25, 0.5]
    due = list(itertools.islice(bench.load.poisson(100, seed=1), 5000))
    assert due == sorted(due)
    assert due[-1] == pytest.approx(50, rel=0.1)


async def test_the_generators_own_cpu_time_is_counted(bench: Any) -> None:
    async def busy(_image: bytes) -> dict[str, float]:
        sum(range(200_000))
        return {}

    load = bench.load.closed(busy, [b""], callers=1, seconds=0.2)
    found = await bench.load.accounted(load, {"server": psutil.Process()})
    assert found.cpu_seconds["generator"] > 0
    assert found.memory_mb > 1


def test_the_parts_of_the_waterfall_add_up_to_what_the_caller_waited(bench: Any) -> None:
    times = {"mean_ms": 100, "request_ms": 95, "queue_ms": 20, "batch_wait_ms": 10, "decode_ms": 15, "inference_ms": 40}
    figures = bench.figures.Figures([row(bench, "gRPC", "8 callers", **times)])
    assert bench.waterfall.waterfall(figures, "gRPC", "8 callers") == {
        **{"client and network": 5, "gateway, way back": 10},
        **{"queue": 20, "batch wait": 10, "decode": 15, "inference": 40},
    }


def test_the_waterfall_of_rounds_that_differ_adds_up_too(bench: Any) -> None:
    rounds = [
        {"mean_ms": 50, "request_ms": 40, "queue_ms": 5, "inference_ms": 30},
        {"mean_ms": 90, "request_ms": 85, "queue_ms": 60, "inference_ms": 20},
        {"mean_ms": 60, "request_ms": 58, "queue_ms": 8, "inference_ms": 45},
    ]
    figures = bench.figures.Figures(
        [row(bench, "gRPC", "8 callers", number=n, **each) for n, each in enumerate(rounds)]
    )
    parts = bench.waterfall.waterfall(figures, "gRPC", "8 callers")
    assert sum(parts.values()) == pytest.approx(200 / 3)
    assert min(parts.values()) >= 0


def test_goals_are_judged_by_the_median_and_shown_with_the_best(bench: Any) -> None:
    found = {goal.what: goal for goal in bench.goals.goals(bench.figures.Figures(run(bench)))}
    of_ceiling = found["gRPC: throughput at 32 callers / in-process engine with decode"]
    assert (of_ceiling.best, of_ceiling.median, of_ceiling.met) == (0.95, pytest.approx(0.95), True)
    lone = found["gRPC: p50 of one caller - in-process time of a batch of one"]
    assert (lone.rounds, lone.best, lone.median, lone.met) == ([3, 16], 3, 9.5, False)
    documented = found["REST: throughput at 32 callers / best peer as documented, round by round"]
    assert (documented.rounds, documented.met) == ([95 / 40, 47.5 / 20], True)  # of whom the round has
    tuned = found["REST: throughput at 32 callers / best peer with our engine, round by round"]
    assert (tuned.rounds, tuned.met) == ([95 / 98, 47.5 / 49], True)
    p99 = "gRPC: p99 in an open loop at {} / in-process time of a batch of one"
    assert found[p99.format("70 % evenly")].met
    assert not found[p99.format("70 % Poisson")].met
    assert found["CPU time of a request without model and decode"].median == 1.5
    assert found["gRPC: memory of JVM, workers and gateway when the load has ended"].median == 1.048576


def test_tables_and_plots_show_every_side(bench: Any, tmp_path: Path) -> None:
    figures = bench.figures.Figures(run(bench))
    assert bench.report.sides_table(figures).row_count == len({(r.side, r.variant, r.load) for r in figures.rows})
    assert bench.report.waterfall_table(figures).row_count == 9
    for path in bench.picture.written(figures, tmp_path / "serve.csv", "title"):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_processes_of_others_are_stopped_for_the_time_of_a_turn(bench: Any) -> None:
    with psutil.Popen(["sleep", "30"]) as mine, psutil.Popen(["sleep", "30"]) as other:
        sides = [
            bench.side.Side(str(each.pid), "ours", None, {"server": psutil.Process(each.pid)}) for each in (mine, other)
        ]
        try:
            with bench.turns.running_alone(sides[0], sides):
                assert psutil.Process(other.pid).status() == psutil.STATUS_STOPPED
                assert psutil.Process(mine.pid).status() != psutil.STATUS_STOPPED
            until(lambda: psutil.Process(other.pid).status() != psutil.STATUS_STOPPED, 10)
        finally:
            mine.kill()
            other.kill()


async def test_everybody_has_a_turn_each_round_and_a_peer_that_fails_none(
    bench: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench.turns, "WARM_SECONDS", 0.01)

    async def call(_image: bytes) -> dict[str, float]:
        await asyncio.sleep(0.001)
        return {"queue": 0.5}

    async def overtaxed(image: bytes) -> dict[str, float]:
        if len(asyncio.all_tasks()) > 30:
            raise httpx.HTTPError("too many callers")
        return await call(image)

    ceiling = SimpleNamespace(measure=lambda **_: bench.load.Measured(1.0, [0.01] * 8, [0] * 8, [{}], {"worker": 0.1}))
    side = bench.side.Side
    peers = [
        bench.side.always(side(name, "as documented", each, {})) for name, each in (("good", call), ("bad", overtaxed))
    ]
    turns = bench.turns.Turns([b"a", b"b"], rounds=2, seconds=0.05)
    await turns.run([side("gRPC", "ours", call, {})], peers, ceiling)
    rounds = {(row.side, row.variant, row.load): 0 for row in turns.rows}
    for row in turns.rows:
        rounds[row.side, row.variant, row.load] += 1
    assert set(rounds.values()) == {2}
    loads = {name: {load for side, _, load in rounds if side == name} for name in ("gRPC", "good", "bad")}
    assert loads["good"] == {"1 caller", "8 callers", "32 callers", "70 % evenly"}
    assert loads["gRPC"] == loads["good"] | {"70 % Poisson"}
    assert loads["bad"] == {"1 caller", "8 callers"}
    assert "too many callers" in capsys.readouterr().out
