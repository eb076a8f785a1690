"""What the dashboard shows: rows of panels, each with the PromQL that it draws.

`$model` is the chosen model ("All" also matches calls that never found one); `$__rate_interval` is Grafana's, four
scrapes at least.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OF_MODEL = '{model=~"$model"}'
# process_* is every exporter's name; the service's own are those beside swinserve_ready.
OF_SERVICE = "and on (job, instance) swinserve_ready"


@dataclass(frozen=True)
class Query:
    expr: str
    legend: str
    """Grafana's template, say "{{outcome}}"."""


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    """Grafana's name of it."""
    description: str
    queries: tuple[Query, ...]
    kind: Literal["timeseries", "heatmap", "table"] = "timeseries"
    width: int = 8
    """Of the 24 columns."""
    stacked: bool = False


def rate(metric: str, by: str = "", labels: str = OF_MODEL) -> str:
    """Events a second, summed, or by labels."""
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} (rate({metric}{labels}[$__rate_interval]))"


def quantile(share: float, histogram: str, by: str = "le", labels: str = OF_MODEL) -> str:
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', by, labels)})"


def mean(histogram: str, by: str = "") -> str:
    return f"{rate(f'{histogram}_sum', by)} / {rate(f'{histogram}_count', by)}"


CLASSIFY = '{method="Classify",model=~"$model"}'
ROWS: dict[str, tuple[Panel, ...]] = {
    "What callers get": (
        Panel(
            "Traffic",
            "reqps",
            "Calls a second.",
            (Query(rate("swinserve_requests_total", "protocol, method"), "{{protocol}} {{method}}"),),
            stacked=True,
        ),
        Panel(
            "Outcomes",
            "reqps",
            "Calls a second, by how they ended; those that callers' own mistakes ended are here too.",
            (Query(rate("swinserve_requests_total", "outcome"), "{{outcome}}"),),
        ),
        Panel(
            "Error budget burn",
            "none",
            "1 spends the budget in 30 days, 14.4 in two: that is when somebody is paged. Needs rules.yaml.",
            tuple(
                Query(f"swinserve:slo_errors:ratio{window} / on (slo) group_left () swinserve:slo_budget:ratio", legend)
                for window, legend in (("5m", "{{slo}}, 5 minutes"), ("1h", "{{slo}}, 1 hour"))
            ),
        ),
        Panel(
            "Latency",
            "s",
            "Classify calls, by how many ended how quickly.",
            (
                Query(
                    f"sum by (le) (increase(swinserve_request_seconds_bucket{CLASSIFY}[$__rate_interval]))",
                    "{{le}}",
                ),
            ),
            kind="heatmap",
            width=12,
        ),
        Panel(
            "Latency quantiles",
            "s",
            "Classify calls, from the first byte read to the answer ready.",
            tuple(
                Query(quantile(share, "swinserve_request_seconds", labels=CLASSIFY), name)
                for share, name in ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"))
            ),
            width=12,
        ),
    ),
    "Where the time goes": (
        Panel(
            "Stages, mean",
            "s",
            "queue: here. batch_wait: at TorchServe. Their sum is an answered image's way.",
            (Query(mean("swinserve_stage_seconds", "stage"), "{{stage}}"),),
            stacked=True,
        ),
        Panel(
            "Stages, p99",
            "s",
            "Where the slow ones lose their time.",
            (Query(quantile(0.99, "swinserve_stage_seconds", "stage, le"), "{{stage}}"),),
        ),
        Panel(
            "Batches",
            "none",
            "Images of a forward pass, and those that only fill its bucket. Load makes full batches.",
            (
                Query(mean("swinserve_batch_images"), "images"),
                Query(mean("swinserve_batch_padding_images"), "padding"),
            ),
            stacked=True,
        ),
        Panel(
            "Under way",
            "none",
            "Images that wait here, images that workers have, calls being answered.",
            (
                Query(f"sum (swinserve_queue_images{OF_MODEL})", "waiting"),
                Query(f"sum (swinserve_dispatched_images{OF_MODEL})", "dispatched"),
                Query("sum (swinserve_in_flight_requests)", "calls"),
            ),
            width=12,
        ),
        Panel(
            "Refused and lost",
            "none",
            "Images a second. shed: refused at once. expired: in the queue. abandoned: computed for nobody.",
            (
                Query(rate("swinserve_shed_images_total", "cause"), "shed: {{cause}}"),
                Query(rate("swinserve_expired_images_total"), "expired"),
                Query(rate("swinserve_abandoned_images_total", "cause"), "abandoned: {{cause}}"),
                Query(rate("swinserve_sent_again_images_total"), "sent again"),
            ),
            width=12,
        ),
    ),
    "What serves": (
        Panel(
            "Ready",
            "bool",
            "Instances, and each one's models.",
            (
                Query("swinserve_ready", "{{instance}}"),
                Query(f"swinserve_model_ready{OF_MODEL}", "{{instance}} {{model}}@{{version}}"),
            ),
        ),
        Panel(
            "Engine faults",
            "none",
            "1: the safe default serves, not what was tuned. Compiled under requests: should never happen.",
            (
                Query(f"swinserve_engine_fallback{OF_MODEL}", "fallback {{instance}} {{model}}"),
                Query(f"sum (increase(swinserve_compile_events_total{OF_MODEL}[$__rate_interval]))", "compiled"),
            ),
        ),
        Panel(
            "Engine",
            "none",
            "Backend, dtype and weights of each model version.",
            (Query(f"swinserve_model_info{OF_MODEL}", ""),),
            kind="table",
        ),
        Panel(
            "Gateway: memory",
            "bytes",
            "Resident. Workers and TorchServe are processes of their own.",
            (Query(f"process_resident_memory_bytes {OF_SERVICE}", "{{instance}}"),),
        ),
        Panel(
            "Gateway: CPU",
            "none",
            "Cores. At one the gateway is the limit, not the model.",
            (Query(f"rate(process_cpu_seconds_total[$__rate_interval]) {OF_SERVICE}", "{{instance}}"),),
        ),
        Panel(
            "Gateway: descriptors",
            "percentunit",
            "Open files and connections, of as many as there may be.",
            (Query(f"process_open_fds / process_max_fds {OF_SERVICE}", "{{instance}}"),),
        ),
    ),
}
PANELS = tuple(panel for row in ROWS.values() for panel in row)


def filled(expr: str, *, model: str = ".*", rate_interval: str = "5m") -> str:
    """The expression as Prometheus takes it."""
    return expr.replace("$model", model).replace("$__rate_interval", rate_interval)
