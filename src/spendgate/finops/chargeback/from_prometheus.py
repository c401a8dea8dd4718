"""A month from Prometheus alone, as the ledger's cells, for chargeback.

Gateways of before counted tokens without their app: such tokens of a team with a model are shared out to its
apps in proportion to cost. How counters are read, and what they cannot know: `rebuild.prometheus`.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from spendgate.finops.chargeback.chargeback import share
from spendgate.ledger.accounts import DayCell
from spendgate.money import usd_to_nano
from spendgate.rebuild.prometheus import COST, Counters, Days, PrometheusError, growth, summed, whole

__all__ = ["COST", "PrometheusError", "PrometheusSource", "growth"]
TOKENS = "spendgate_tokens_total"
REQUESTS = "spendgate_requests_total"
REFUSED = "spendgate_refused_total"
SAVED = "spendgate_routing_saved_usd_total"
ADDED = "spendgate_routing_added_usd_total"
CORRECTED = "spendgate_corrected_requests_total"
CORRECTED_USD = "spendgate_corrected_usd_total"
_CELL = ("team", "app", "model")


class PrometheusSource(Counters):
    """Counters as cells."""

    def cells(self, month: str, now_ms: int, team: str | None = None) -> list[DayCell]:
        """The month as the ledger would give it, sorted by team, day, app and model. Raises PrometheusError."""
        cost, requests, refused, saved, added, corrected, corrected_usd = (
            summed(self.increases(m, month, now_ms), *_CELL)
            for m in (COST, REQUESTS, REFUSED, SAVED, ADDED, CORRECTED, CORRECTED_USD)
        )
        tokens = summed(self.increases(TOKENS, month, now_ms), *_CELL, "kind")
        _share_out(tokens, cost)
        keys = {*cost, *requests, *refused, *saved, *added, *corrected, *(k[:3] for k in tokens)}
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

            put("cost_nanousd", whole(cost.get(key, {}), usd_to_nano))
            put("cost_nanousd", whole(corrected_usd.get(key, {}), usd_to_nano), -1)
            put("requests", whole(requests.get(key, {}), _count))
            put("requests", whole(corrected.get(key, {}), _count), -1)
            put("refused", whole(refused.get(key, {}), _count))
            put("saved_nanousd", whole(saved.get(key, {}), usd_to_nano))
            put("saved_nanousd", whole(added.get(key, {}), usd_to_nano), -1)
            for kind, days in by_cell.get(key, ()):
                for day, n in whole(days, _count).items():
                    row = out.setdefault((key[0], day, key[1], key[2]), {"tokens": {}})
                    row["tokens"][kind] = n
        return [
            DayCell(*names, **{"requests": 0, "cost_nanousd": 0, **row})
            for names, row in sorted(out.items())
            if any(row.values())
        ]


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
        for day, n in whole(tokens.pop(key), _count).items():
            parts = share(n, weights if any(weights) else [1] * len(apps))
            for app, part in zip(apps, parts, strict=True):
                into = tokens.setdefault((team, app, model, kind), {})
                into[day] = into.get(day, Decimal(0)) + part
