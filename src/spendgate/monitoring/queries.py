"""Pieces of PromQL that panels share."""

from __future__ import annotations

from spendgate.monitoring.rules import grown

RATE, RANGE = "$__rate_interval", "$__range"
"""Grafana's: long enough for the step and the scrape; the time that is shown."""
MOST = 10
"""How many teams a list shows."""


def rate(metric: str, by: str = "") -> str:
    """A second, summed by a label."""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}[{RATE}]))"


def count(metric: str, by: str = "") -> str:
    """In the time shown."""
    return f"sum{f' by ({by})' if by else ''} ({grown(metric, RANGE)})"


def most(expr: str) -> str:
    """The highest, in order."""
    return f"sort_desc(topk({MOST}, {expr}))"


def quantiles(metric: str, legend: str) -> tuple[tuple[str, str], ...]:
    """Median and 99th percentile of a histogram."""
    buckets = rate(f"{metric}_bucket", "le")
    return tuple((f"histogram_quantile({q}, {buckets})", f"{legend} p{round(q * 100)}") for q in (0.5, 0.99))


def of_envoy(metrics: tuple[str, ...], window: str) -> str:
    """How much Envoy's counters grew, by whichever name they are there."""
    return "\n+\n".join(f"(sum({grown(metric, window)}) or vector(0))" for metric in metrics)
