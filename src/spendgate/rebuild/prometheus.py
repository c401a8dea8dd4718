"""A month's counters from Prometheus, read so that no reset and no newborn counter loses a dollar.

`increase()` extrapolates, and does not see what a counter held when it was first scraped. So counters are
read day by day, at what was really scraped: the last and the least sample of each day, and whether it fell
within. A counter that never fell grew by the difference of its last samples; one that is less than the day
before was started anew and counts in whole, and so does one that was not there in the week before the month.
Days on which it fell are read sample by sample. (Of very many counters, `lives` reads less.)

What Prometheus cannot know: what a gateway counted after the last scrape before it died; that a counter started
anew under the same labels, where it passed its old value before the next scrape; and adjustments. Its days
are those of the scrapes, the ledger's those of the reservations: they differ by what was in flight at midnight.
Its counters are sums of floats: each of n additions is off by 2^-53 of the sum at most, so a month
of n exchanges and S USD by n x S x 2^-53 (a million exchanges and $10,000: less than a micro-dollar).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Self

import httpx
import orjson

from spendgate.errors import SpendgateError

Labels = tuple[tuple[str, str], ...]
Days = dict[str, Decimal]
"""Growth by day (`YYYYMMDD`)."""
COST = "llm_cost_usd_total"
BEFORE = "7d"
"""How far before the month a counter is looked for, to tell an old one from a newborn."""
DAY = timedelta(days=1)


class PrometheusError(SpendgateError):
    """Prometheus did not answer, or not as its API says."""


class Counters:
    """Reads one Prometheus (or what speaks its HTTP API: Thanos, Mimir) at `url`."""

    def __init__(self, url: str, timeout_s: float = 60.0) -> None:
        self._url = url.rstrip("/")
        self._http = httpx.Client(timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def increases(self, metric: str, month: str, now_ms: int) -> dict[Labels, Days]:
        """What each series of a counter grew by on each day of a month (`YYYYMM`), up to now; days without
        growth are left out. `metric` may carry matchers. Raises PrometheusError."""
        start, stop = span_of(month, now_ms)
        if stop <= start:
            return {}
        known = self.vector(f"last_over_time({metric}[{BEFORE}])", start)
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
                    name = metric.partition("{")[0]
                    more = growth(self.samples(f"{selector(name, series)}{span}", end), before)
                elif before is None or least[series].get(end, value) < before:
                    more = value
                else:
                    more = value - before
                if more:
                    grown.setdefault(series, {})[f"{begun:%Y%m%d}"] = more
                before = value
        return grown

    def _daily(self, query: str, start: datetime, stop: datetime) -> dict[Labels, dict[datetime, Decimal]]:
        """A query of each day's span (written SPAN), by the day's end; the last day may be cut by `stop`."""
        midnight = datetime(stop.year, stop.month, stop.day, tzinfo=UTC)
        found: dict[Labels, dict[datetime, Decimal]] = {}
        if midnight > start:
            asked = query.replace("[SPAN]", _span(DAY))
            for series, points in self.grid(asked, start + DAY, midnight, int(DAY.total_seconds())).items():
                days = found.setdefault(series, {})
                days |= {datetime.fromtimestamp(at, UTC): Decimal(text) for at, text in points}
        if stop > midnight:
            for series, value in self.vector(query.replace("[SPAN]", _span(stop - midnight)), stop).items():
                found.setdefault(series, {})[stop] = value
        return found

    def vector(self, query: str, at: datetime) -> dict[Labels, Decimal]:
        """An instant query. Raises PrometheusError."""
        return {labels_of(r["metric"]): Decimal(r["value"][1]) for r in self._ask(query, at)}

    def samples(self, query: str, at: datetime) -> list[Decimal]:
        """The raw samples of a range selector of one series. Raises PrometheusError."""
        return [Decimal(value) for r in self._ask(query, at) for _, value in r["values"]]

    def matrix(self, query: str, at: datetime) -> dict[Labels, list[tuple[float, str]]]:
        """The raw samples (time, value) of a range selector. Raises PrometheusError."""
        return _points(self._ask(query, at))

    def grid(
        self, query: str, start: datetime, stop: datetime, step_s: int
    ) -> dict[Labels, list[tuple[float, str]]]:
        """A range query. Raises PrometheusError."""
        times = {"start": f"{start.timestamp():.3f}", "end": f"{stop.timestamp():.3f}", "step": str(step_s)}
        return _points(self._post("query_range", {"query": query, **times}))

    def series(self, metric: str, start: datetime, stop: datetime) -> list[dict[str, str]]:
        """The labels of all series that a metric had in a time, from the index. Raises PrometheusError."""
        times = {"start": f"{start.timestamp():.3f}", "end": f"{stop.timestamp():.3f}"}
        found: list[dict[str, str]] = self._post("series", {"match[]": metric, **times})
        return found

    def _ask(self, query: str, at: datetime) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._post("query", {"query": query, "time": f"{at.timestamp():.3f}"})
        return found

    def _post(self, page: str, data: dict[str, str]) -> Any:
        where = f"Prometheus at {self._url}"
        try:
            answer = self._http.post(f"{self._url}/api/v1/{page}", data=data)
            document = orjson.loads(answer.content)
            if document["status"] != "success":
                what = data.get("query", data.get("match[]", ""))
                raise PrometheusError(f"{where} refused {what}: {document.get('error', answer.text)}")
            found = document["data"]
            return found if isinstance(found, list) else found["result"]
        except (httpx.HTTPError, httpx.InvalidURL) as e:
            raise PrometheusError(f"{where} does not answer ({e}); check --prometheus URL") from e
        except (ValueError, KeyError, TypeError) as e:
            raise PrometheusError(f"{where} does not speak its HTTP API; check --prometheus URL") from e


def span_of(month: str, now_ms: int) -> tuple[datetime, datetime]:
    """From when to when a month (`YYYYMM`) reaches, up to now."""
    start = datetime(int(month[:4]), int(month[4:]), 1, tzinfo=UTC)
    stop = (start + timedelta(days=32)).replace(day=1)
    return start, min(stop, datetime.fromtimestamp(now_ms / 1000, UTC))


def _points(found: list[dict[str, Any]]) -> dict[Labels, list[tuple[float, str]]]:
    return {labels_of(r["metric"]): [(float(t), str(v)) for t, v in r["values"]] for r in found}


def growth(samples: list[Decimal], before: Decimal | None) -> Decimal:
    """What a counter grew by over samples; `before` is its last value before them, None for a newborn."""
    total, last = Decimal(0), before if before is not None else Decimal(0)
    for value in samples:
        total += value - last if value >= last else value
        last = value
    return total


def labels_of(metric: Mapping[str, str]) -> Labels:
    return tuple(sorted((k, v) for k, v in metric.items() if k != "__name__"))


def selector(metric: str, series: Labels) -> str:
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


def summed(grown: Mapping[Labels, Days], *names: str) -> dict[tuple[str, ...], Days]:
    """Sum over all other labels (instances, pods)."""
    out: dict[tuple[str, ...], Days] = {}
    for series, days in grown.items():
        labels = dict(series)
        into = out.setdefault(tuple(labels.get(name, "") for name in names), {})
        for day, amount in days.items():
            into[day] = into.get(day, Decimal(0)) + amount
    return out


def whole(days: Days, unit: Callable[[Decimal], int]) -> dict[str, int]:
    """Whole units by day that add up to the month's, rounded once."""
    out, sum_of, told = {}, Decimal(0), 0
    for day, amount in sorted(days.items()):
        sum_of += amount
        n = unit(sum_of) - told
        told += n
        if n:
            out[day] = n
    return out
