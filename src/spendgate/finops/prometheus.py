"""A month from Prometheus alone: counters read so that no reset and no newborn counter loses a dollar.

`increase()` extrapolates, and does not see what a counter held when it was first scraped. So counters are
read day by day, at what was really scraped: the last and the least sample of each day, and whether it fell
within. A counter that never fell grew by the difference of its last samples; one that is less than the day
before was started anew and counts in whole, and so does one that was not there in the week before the month.
Days on which it fell are read sample by sample.

What Prometheus can not know: what a gateway counted after the last scrape before it died, and adjustments. Its
days are those of the scrapes, the ledger's those of the reservations: they differ by what was in flight at
midnight. Its counters are sums of floats: each of n additions is off by 2^-53 of the sum at most, so a month
of n exchanges and S USD by n x S x 2^-53 (a million exchanges and $10,000: less than a micro-dollar).

Gateways of before counted tokens without their app: such tokens of a team with a model are shared out to its
apps in proportion to cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx

from spendgate.errors import SpendgateError
from spendgate.finops.chargeback import share
from spendgate.ledger.port import DayCell
from spendgate.money import usd_to_nano

Labels = tuple[tuple[str, str], ...]
Days = dict[str, Decimal]
"""Growth by day (`YYYYMMDD`)."""
COST = "llm_cost_usd_total"
TOKENS = "spendgate_tokens_total"
REQUESTS = "spendgate_requests_total"
REFUSED = "spendgate_refused_total"
SAVED = "spendgate_routing_saved_usd_total"
ADDED = "spendgate_routing_added_usd_total"
BEFORE = "7d"
"""How far before the month a counter is looked for, to tell an old one from a newborn."""
DAY = timedelta(days=1)
_CELL = ("team", "app", "model")


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

    def increases(self, metric: str, month: str, now_ms: int) -> dict[Labels, Days]:
        """What each series of a counter grew by on each day of a month (`YYYYMM`), up to now; days without
        growth are left out. Raises PrometheusError."""
        start = datetime(int(month[:4]), int(month[4:]), 1, tzinfo=UTC)
        stop = min((start + 32 * DAY).replace(day=1), datetime.fromtimestamp(now_ms / 1000, UTC))
        if stop <= start:
            return {}
        known = self._vector(f"last_over_time({metric}[{BEFORE}])", start)
        last = self._daily(f"last_over_time({metric}[SPAN])", start, stop)
        least = self._daily(f"min_over_time({metric}[SPAN])", start, stop)
        fell = self._daily(f"resets({metric}[SPAN]) > 0", start, stop)
        grown: dict[Labels, Days] = {}
        for series, days in last.items():
            before = known.get(series)
            for end, value in sorted(days.items()):
                begun = _day_of(end)
                if end in fell.get(series, {}):
                    span = _span(end - begun)
                    more = growth(self._samples(f"{_selector(metric, series)}{span}", end), before)
                elif before is None or least[series].get(end, value) < before:
                    more = value
                else:
                    more = value - before
                if more:
                    grown.setdefault(series, {})[f"{begun:%Y%m%d}"] = more
                before = value
        return grown

    def cells(self, month: str, now_ms: int, team: str | None = None) -> list[DayCell]:
        """The month as the ledger would give it, sorted by team, day, app and model. Raises PrometheusError."""
        cost, requests, refused, saved, added = (
            _by(self.increases(m, month, now_ms), *_CELL) for m in (COST, REQUESTS, REFUSED, SAVED, ADDED)
        )
        tokens = _by(self.increases(TOKENS, month, now_ms), *_CELL, "kind")
        _share_out(tokens, cost)
        keys = {*cost, *requests, *refused, *saved, *added, *(k[:3] for k in tokens)}
        by_cell: dict[tuple[str, ...], list[tuple[str, Days]]] = {}
        for (*cell, kind), days in tokens.items():
            by_cell.setdefault(tuple(cell), []).append((kind, days))
        out: dict[tuple[str, str, str, str], dict[str, Any]] = {}
        for key in keys:
            if team not in (None, key[0]):
                continue

            def put(name: str, days: Mapping[str, int], sign: int = 1, cell: tuple[str, ...] = key) -> None:
                for day, n in days.items():
                    row = out.setdefault((cell[0], day, cell[1], cell[2]), {"tokens": {}})
                    row[name] = row.get(name, 0) + sign * n

            put("cost_nanousd", _whole(cost.get(key, {}), usd_to_nano))
            put("requests", _whole(requests.get(key, {}), _count))
            put("refused", _whole(refused.get(key, {}), _count))
            put("saved_nanousd", _whole(saved.get(key, {}), usd_to_nano))
            put("saved_nanousd", _whole(added.get(key, {}), usd_to_nano), -1)
            for kind, days in by_cell.get(key, ()):
                for day, n in _whole(days, _count).items():
                    row = out.setdefault((key[0], day, key[1], key[2]), {"tokens": {}})
                    row["tokens"][kind] = n
        return [
            DayCell(*names, **{"requests": 0, "cost_nanousd": 0, **row})
            for names, row in sorted(out.items())
            if any(row.values())
        ]

    def _daily(self, query: str, start: datetime, stop: datetime) -> dict[Labels, dict[datetime, Decimal]]:
        """A query of each day's span (written SPAN), by the day's end; the last day may be cut by `stop`."""
        midnight = datetime(stop.year, stop.month, stop.day, tzinfo=UTC)
        found: dict[Labels, dict[datetime, Decimal]] = {}
        if midnight > start:
            data = {
                "query": query.replace("[SPAN]", _span(DAY)),
                "start": f"{(start + DAY).timestamp():.0f}",
                "end": f"{midnight.timestamp():.0f}",
                "step": f"{DAY.total_seconds():.0f}",
            }
            for r in self._ask("query_range", data):
                days = found.setdefault(_labels(r["metric"]), {})
                for at, value in r["values"]:
                    days[datetime.fromtimestamp(float(at), UTC)] = Decimal(value)
        if stop > midnight:
            for series, value in self._vector(query.replace("[SPAN]", _span(stop - midnight)), stop).items():
                found.setdefault(series, {})[stop] = value
        return found

    def _vector(self, query: str, at: datetime) -> dict[Labels, Decimal]:
        return {_labels(r["metric"]): Decimal(r["value"][1]) for r in self._instant(query, at)}

    def _samples(self, query: str, at: datetime) -> list[Decimal]:
        return [Decimal(value) for r in self._instant(query, at) for _, value in r["values"]]

    def _instant(self, query: str, at: datetime) -> list[dict[str, Any]]:
        return self._ask("query", {"query": query, "time": f"{at.timestamp():.3f}"})

    def _ask(self, verb: str, data: Mapping[str, str]) -> list[dict[str, Any]]:
        where, query = f"Prometheus at {self._url}", data["query"]
        try:
            answer = self._http.post(f"{self._url}/api/v1/{verb}", data=data)
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


def _span(length: timedelta) -> str:
    return f"[{max(1, int(length.total_seconds()))}s]"


def _day_of(end: datetime) -> datetime:
    """The midnight that the day that ends at `end` began with."""
    last = end - timedelta(microseconds=1)
    return datetime(last.year, last.month, last.day, tzinfo=UTC)


def _by(grown: Mapping[Labels, Days], *names: str) -> dict[tuple[str, ...], Days]:
    """Sum over all other labels (instances, pods)."""
    out: dict[tuple[str, ...], Days] = {}
    for series, days in grown.items():
        labels = dict(series)
        into = out.setdefault(tuple(labels.get(name, "") for name in names), {})
        for day, amount in days.items():
            into[day] = into.get(day, Decimal(0)) + amount
    return out


def _whole(days: Days, whole: Callable[[Decimal], int]) -> dict[str, int]:
    """Whole units by day that add up to the month's, rounded once."""
    out, sum_of, told = {}, Decimal(0), 0
    for day, amount in sorted(days.items()):
        sum_of += amount
        n = whole(sum_of) - told
        told += n
        if n:
            out[day] = n
    return out


def _count(amount: Decimal) -> int:
    return int(amount.to_integral_value())


def _share_out(tokens: dict[tuple[str, ...], Days], cost: Mapping[tuple[str, ...], Days]) -> None:
    """Share tokens that name no app out to the apps of team and model, in proportion to the month's cost."""
    for key in [k for k in tokens if not k[1] and k[:3] not in cost]:
        team, _, model, kind = key
        apps = sorted(a for t, a, m in cost if (t, m) == (team, model))
        if not apps:
            continue
        weights = [usd_to_nano(sum(cost[team, app, model].values(), Decimal(0))) for app in apps]
        for day, n in _whole(tokens.pop(key), _count).items():
            parts = share(n, weights if any(weights) else [1] * len(apps))
            for app, part in zip(apps, parts, strict=True):
                into = tokens.setdefault((team, app, model, kind), {})
                into[day] = into.get(day, Decimal(0)) + part
