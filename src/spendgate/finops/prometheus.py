"""A month from Prometheus alone: counters read so that no reset and no newborn counter loses a dollar.

`increase()` extrapolates, and does not see what a counter held when it was first scraped. So counters are
read day by day, at what was really scraped: the last and the least sample of each day, and whether it fell
within. A counter that never fell grew by the difference of its last samples; one that is less than the day
before was started anew and counts in whole, and so does one that was not there in the week before the month.
Days on which it fell are read sample by sample.

What Prometheus can not know: what a gateway counted after the last scrape before it died. Of tokens it knows no
app (the label would cost too many series): a team's tokens with a model are shared out to its apps in
proportion to cost. It does not count requests by app.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx

from spendgate.errors import SpendgateError
from spendgate.finops.chargeback import share
from spendgate.ledger.port import DayCell
from spendgate.money import usd_to_nano

Labels = tuple[tuple[str, str], ...]
COST = "llm_cost_usd_total"
TOKENS = "spendgate_tokens_total"
BEFORE = "7d"
"""How far before the month a counter is looked for, to tell an old one from a newborn."""


class PrometheusError(SpendgateError):
    """Prometheus did not answer, or not as its API says."""


class PrometheusSource:
    """Reads one Prometheus (or what speaks its HTTP API: Thanos, Mimir) at `url`."""

    def __init__(self, url: str, timeout_s: float = 60.0) -> None:
        self._url = url.rstrip("/")
        self._http = httpx.Client(timeout=timeout_s)

    def __enter__(self) -> PrometheusSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def increases(self, metric: str, month: str, now_ms: int) -> dict[Labels, Decimal]:
        """What each series of a counter grew by in a month (`YYYYMM`), up to now. Raises PrometheusError."""
        start = datetime(int(month[:4]), int(month[4:]), 1, tzinfo=UTC)
        stop = min((start + timedelta(days=32)).replace(day=1), datetime.fromtimestamp(now_ms / 1000, UTC))
        known = self._vector(f"last_over_time({metric}[{BEFORE}])", start)
        grown: dict[Labels, Decimal] = {}
        while start < stop:
            end = min(start + timedelta(days=1), stop)
            span = f"[{max(1, int((end - start).total_seconds()))}s]"
            last = self._vector(f"last_over_time({metric}{span})", end)
            least = self._vector(f"min_over_time({metric}{span})", end)
            fell = self._vector(f"resets({metric}{span}) > 0", end)
            for series, value in last.items():
                before = known.get(series)
                if series in fell:
                    more = growth(self._samples(f"{_selector(metric, series)}{span}", end), before)
                elif before is None or least.get(series, value) < before:
                    more = value
                else:
                    more = value - before
                grown[series] = grown.get(series, Decimal(0)) + more
                known[series] = value
            start = end
        return grown

    def cells(self, month: str, now_ms: int, team: str | None = None) -> list[DayCell]:
        """The month as cells of one day, the first. Raises PrometheusError."""
        cost = _by(self.increases(COST, month, now_ms), "team", "app", "model")
        tokens = _by(self.increases(TOKENS, month, now_ms), "team", "model", "kind")
        spent = {key: usd_to_nano(amount) for key, amount in cost.items() if team in (None, key[0])}
        return sorted(
            (
                DayCell(t, f"{month}01", app, model, 0, nano, found)
                for (t, app, model), nano, found in _with_tokens(spent, tokens)
                if nano or found
            ),
            key=lambda c: (c.team, c.app, c.model),
        )

    def _vector(self, query: str, at: datetime) -> dict[Labels, Decimal]:
        return {_labels(r["metric"]): Decimal(r["value"][1]) for r in self._ask(query, at)}

    def _samples(self, query: str, at: datetime) -> list[Decimal]:
        return [Decimal(value) for r in self._ask(query, at) for _, value in r["values"]]

    def _ask(self, query: str, at: datetime) -> list[dict[str, Any]]:
        where = f"Prometheus at {self._url}"
        try:
            data = {"query": query, "time": f"{at.timestamp():.3f}"}
            answer = self._http.post(f"{self._url}/api/v1/query", data=data)
            document = answer.json()
            if document["status"] != "success":
                raise PrometheusError(f"{where} refused {query}: {document.get('error', answer.text)}")
            found: list[dict[str, Any]] = document["data"]["result"]
        except (httpx.HTTPError, httpx.InvalidURL) as e:
            raise PrometheusError(f"{where} does not answer ({e}); check --prometheus URL") from e
        except (ValueError, KeyError, TypeError) as e:
            raise PrometheusError(f"{where} does not speak its HTTP API; check --prometheus URL") from e
        return found


def growth(samples: list[Decimal], before: Decimal | None) -> Decimal:
    """What a counter grew by over samples; `before` is its last value before them, None for a newborn."""
    total, last = Decimal(0), before if before is not None else Decimal(0)
    for value in samples:
        total += value - last if value >= last else value
        last = value
    return total


def _labels(metric: Mapping[str, str]) -> Labels:
    return tuple(sorted((k, v) for k, v in metric.items() if k != "__name__"))


def _selector(metric: str, series: Labels) -> str:
    def quoted(value: str) -> str:
        return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    matchers = ",".join(f'{name}="{quoted(value)}"' for name, value in series)
    return f"{metric}{{{matchers}}}"


def _by(grown: Mapping[Labels, Decimal], *names: str) -> dict[tuple[str, ...], Decimal]:
    """Sum over all other labels (instances, pods)."""
    out: dict[tuple[str, ...], Decimal] = {}
    for series, amount in grown.items():
        labels = dict(series)
        key = tuple(labels.get(name, "") for name in names)
        out[key] = out.get(key, Decimal(0)) + amount
    return out


def _with_tokens(
    spent: Mapping[tuple[str, ...], int], tokens: Mapping[tuple[str, ...], Decimal]
) -> Iterator[tuple[tuple[str, ...], int, dict[str, int]]]:
    """Each team, app and model with its part of the team's tokens with that model."""
    apps: dict[tuple[str, str], list[str]] = {}
    for t, app, model in sorted(spent):
        apps.setdefault((t, model), []).append(app)
    for (t, model), names in apps.items():
        costs = [spent[t, app, model] for app in names]
        parts: list[dict[str, int]] = [{} for _ in names]
        for (of_team, of_model, kind), amount in tokens.items():
            if (of_team, of_model) != (t, model) or not amount:
                continue
            weights = costs if any(costs) else [1] * len(costs)
            for part, n in zip(parts, share(int(amount.to_integral_value()), weights), strict=True):
                if n:
                    part[kind] = n
        for app, cost, part in zip(names, costs, parts, strict=True):
            yield (t, app, model), cost, part
