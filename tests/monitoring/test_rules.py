"""The alert rules: promtool reads them, makes each fire and stay quiet, and every outcome has its place in the SLOs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from swin_gateway import errors
from swin_gateway.calls import CANCELLED, OK
from swin_gateway.metrics import SECONDS
from tests.monitoring.promtool import ROOT, RULES, alerts, promtool, rules

TESTS = sorted(RULES.parent.glob("*_test.yaml"))
CALLERS_MISTAKES = {
    "headers_too_large",
    "too_slow",
    *("invalid_request", "too_large", "unsupported_type", "undecodable"),
    *("not_found", "model_not_found", CANCELLED, "unauthenticated", "permission_denied", "rate_limited"),
}


def cases(alert: str) -> Iterator[dict[str, Any]]:
    """What the unit tests ask of the series that Prometheus keeps of this alert."""
    for path in TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            yield from (each for each in test["promql_expr_test"] if f'alertname="{alert}"' in each["expr"])


def test_promtool_finds_no_fault_with_the_rules() -> None:
    assert "SUCCESS" in promtool("check", "rules", RULES)


def test_promtool_finds_no_fault_with_the_configuration() -> None:
    assert "SUCCESS" in promtool("check", "config", RULES.with_name("prometheus.yaml"))


@pytest.mark.parametrize("tests", TESTS, ids=lambda path: path.stem)
def test_the_alerts_fire_and_stay_quiet_as_their_unit_tests_say(tests: Any) -> None:
    assert "SUCCESS" in promtool("test", "rules", tests)


@pytest.mark.parametrize("alert", alerts())
def test_an_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_quiet(alert: str) -> None:
    fires = [bool(each.get("exp_samples")) for each in cases(alert)]
    assert set(fires) == {True, False}
    firing = [each["expr"] for each in cases(alert) if each.get("exp_samples")]
    assert all('alertstate="firing"' in expr for expr in firing)  # a pending one has not fired


@pytest.mark.parametrize("alert", alerts())
def test_an_alert_says_what_happened_what_to_do_and_where_to_read_on(alert: str) -> None:
    rule = alerts()[alert]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    page, _, section = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.+)", (ROOT / page).read_text(), re.MULTILINE)
    assert section == alert.lower()
    assert alert in headings


def test_every_outcome_is_good_or_bad_or_left_out() -> None:
    """A new outcome has to be given its place here and in every rule that lists them."""
    every = {each.reason.lower() for each in vars(errors).values() if hasattr(each, "reason")}
    assert every >= CALLERS_MISTAKES
    bad = every - CALLERS_MISTAKES
    listed = {
        (rule["record"], rule["labels"]["slo"]): set(re.findall(r'outcome=~\s*"([\w|]+)"', rule["expr"])[0].split("|"))
        for rule in rules()
        if "outcome=~" in rule["expr"]
    }
    assert listed == {
        ("swinserve:slo_events:rate5m", "calls"): {OK} | bad,
        ("swinserve:slo_bad:rate5m", "calls"): bad,
        ("swinserve:slo_events:rate5m", "images"): {OK, "shed"} | bad,
        ("swinserve:slo_bad:rate5m", "images"): {"shed"} | bad,
    }


def test_the_latency_objective_is_the_bound_of_a_bucket() -> None:
    (bound,) = {each for rule in rules() for each in re.findall(r'le="([\d.]+)"', rule["expr"])}
    assert float(bound) in SECONDS
    assert bound == str(float(bound))  # as prometheus_client writes it
