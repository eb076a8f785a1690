from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from loadtests.slo import SENDS, Figures, Limits, Verdict, broken_now, load, sent, verdicts

CALM = Figures(per_second=90.0, errors_per_second=0.0, shed_per_second=10.0, p50_seconds=0.02, p99_seconds=0.1)


def broken(limits: Limits, figures: Figures = CALM) -> list[str]:
    found = verdicts({"REST classify": limits}, {"REST classify": figures})
    return [verdict.limit for verdict in found if not verdict.kept]


def test_only_limits_that_are_set_are_judged() -> None:
    assert list(verdicts({"REST classify": Limits()}, {"REST classify": CALM})) == []


@pytest.mark.parametrize(
    ("limits", "names"),
    [
        (Limits(max_p50_seconds=0.02, max_p99_seconds=0.1, min_per_second=90), []),
        (Limits(max_p50_seconds=0.019), ["max_p50_seconds"]),
        (Limits(max_p99_seconds=0.099, min_per_second=91), ["max_p99_seconds", "min_per_second"]),
        (Limits(max_shed_ratio=0.1), []),
        (Limits(max_shed_ratio=0.09), ["max_shed_ratio"]),
    ],
)
def test_a_limit_is_kept_up_to_its_value(limits: Limits, names: list[str]) -> None:
    assert broken(limits) == names


def test_what_was_shed_is_no_error_and_counts_as_a_call() -> None:
    assert broken(Limits(max_error_ratio=0.0)) == []
    half_wrong = Figures(50.0, 50.0, 50.0, 0.02, 0.1)
    assert half_wrong.error_ratio == 0.5


def test_a_name_that_was_never_called_breaks_its_slo() -> None:
    (verdict,) = verdicts({"REST clasify": Limits(max_error_ratio=0.5)}, {"REST classify": CALM})
    assert (verdict.name, verdict.limit, verdict.kept) == ("REST clasify", "min_calls", False)


def test_the_default_slo_can_be_read() -> None:
    slo = load(Path(__file__).parents[2] / "loadtests" / "slo.toml")
    assert slo["gRPC classify"].max_error_ratio == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('["REST classify"]\nmax_p999_seconds = 1', "max_p999_seconds"),
        ('["REST classify"]\nmax_p99_seconds = "1 s"', "max_p99_seconds is a number"),
        ("max_p99_seconds = 1", "max_p99_seconds"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "slo.toml").write_text(text)
    with pytest.raises(ValueError, match=words):
        load(tmp_path / "slo.toml")


def test_a_load_that_still_grows_breaks_no_minimum_nor_what_has_no_figure_yet() -> None:
    low = Verdict("REST classify", "min_per_second", 1.0, 50.0)
    none = Verdict("REST classify", "max_p99_seconds", math.nan, 1.0)
    slow = Verdict("gRPC classify", "max_p99_seconds", 2.0, 1.0)
    assert not none.kept
    assert broken_now([low, none]) is None
    assert broken_now([low, none, slow]) is slow


@pytest.mark.parametrize(("dropped", "kept"), [(0, True), (20, True), (21, False)])
def test_an_open_loop_that_sends_less_than_98_percent_of_what_it_offers_fails(dropped: int, kept: bool) -> None:
    entries = {SENDS: SimpleNamespace(num_requests=1000, num_failures=dropped)}
    (verdict,) = sent(cast(Any, SimpleNamespace(entries=entries)))
    assert verdict.kept is kept


def test_a_closed_loop_offers_nothing_that_it_could_fail_to_send() -> None:
    assert list(sent(cast(Any, SimpleNamespace(entries={})))) == []
