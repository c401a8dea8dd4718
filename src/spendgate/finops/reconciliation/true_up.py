"""True-ups: adjustments that bring the ledger to a provider's invoice. Pure; nano-USD.

What bypassed the gateway is charged to one team that is named for it, as app `direct egress`; fees, commitments,
credits, refunds and taxes likewise, as an app of their cause's name, always beside the budgets' counters. All else of a
model is shared out to the apps that used it, in proportion to what they were metered for in the month. What was
backfilled stays where it is; what is not understood is left alone, and so is what is below the threshold. The target
is computed anew each time and what was trued up before is taken off it, so a second run finds nothing to do; ids are
made of the target and of how many true-ups there were, so two runs at once make the same ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from spendgate.finops.chargeback.chargeback import at_day, price_for, share
from spendgate.finops.invoice.line import UNKNOWN, USAGE
from spendgate.finops.invoice.names import fingerprint
from spendgate.finops.reconciliation.causes import BYPASS, OF_CHARGE, ROUNDING
from spendgate.finops.reconciliation.reconcile import ModelDrift, Reconciliation
from spendgate.ledger.accounts import Adjusted, Adjustment, DayCell
from spendgate.months import month_text
from spendgate.pricing.table import PriceTable
from spendgate.values import dataclass

EGRESS_APP = "direct egress"
PREFIX = "invoice"
BACKFILL = "backfill"
Where = tuple[str, str, str]
"""Team, app and model."""


@dataclass(frozen=True, slots=True)
class TrueUp:
    """One adjustment to make, before the policy adds the counters that it moves."""

    adjustment_id: str
    team: str
    app: str
    model: str
    nano: int
    reason: str
    beside: bool = False
    """Is it an accounting entry, whatever the month: no traffic of a team, so that no budget may count it?"""

    def adjustment(self, by: str, scopes: tuple[str, ...], day: str = "") -> Adjustment:
        """As the ledger takes it: on a day, or in the open month. Without scopes it is an entry beside the counters."""
        return Adjustment(
            self.adjustment_id,
            self.team,
            self.nano,
            self.reason,
            by,
            self.app,
            self.model,
            day,
            scopes=scopes,
        )


@dataclass(frozen=True, slots=True)
class Threshold:
    """What is offered: a model's open drift of at least so much money and so large a part of its invoice. Rounding
    counts as nothing."""

    nano: int = 0
    ratio: Decimal = Decimal(0)

    def takes(self, model: ModelDrift) -> bool:
        """Is the open drift of a line of the table material?"""
        left = abs(model.drift_nanousd)
        if not left:
            return True
        rounding = model.causes.get(ROUNDING, 0) if self.nano or self.ratio else 0
        left = min(left, abs(model.drift_nanousd - rounding))
        whole = abs(model.invoiced_nanousd) or abs(model.metered_nanousd)
        return left >= self.nano and left >= self.ratio * whole


def id_prefix(provider: str, month: str) -> str:
    """How the ids of a month's true-ups begin."""
    return f"{PREFIX}/{provider}/{month}/"


def as_billed(audit: Iterable[Adjusted], prices: PriceTable) -> list[Adjusted]:
    """An audit whose backfills are told at what a provider bills: they were charged with the markups of `prices`."""
    out = []
    for made in audit:
        a = made.adjustment
        kind, *rest = a.adjustment_id.split("/")
        if kind == BACKFILL and len(rest) == 3:
            price = price_for(prices, a.model, at_day(rest[1]))
            if price.before_markups is not None:
                part = Fraction(*price.before_markups) / Fraction(*price.multiplier)
                made = replace(made, adjustment=replace(a, cost_nanousd=round(a.cost_nanousd * part)))
        out.append(made)
    return out


def corrections(
    audit: Iterable[Adjusted], provider: str, month: str, ours: Callable[[str], bool] = lambda _: True
) -> dict[str, int]:
    """What true-ups and backfills have corrected of a provider's month, by model. Backfills name no provider:
    `ours` tells whose models they are."""
    out: dict[str, int] = {}
    trued, filled = id_prefix(provider, month), f"{BACKFILL}/{month}/"
    for made in audit:
        a = made.adjustment
        mine = a.adjustment_id.startswith(trued) or (a.adjustment_id.startswith(filled) and ours(a.model))
        if mine:
            out[a.model] = out.get(a.model, 0) + a.cost_nanousd
    return out


def true_ups(
    found: Reconciliation,
    cells: Iterable[DayCell],
    audit: Iterable[Adjusted],
    egress_team: str,
    label: str,
    threshold: Threshold | None = None,
) -> list[TrueUp]:
    """What is to be adjusted. `cells` are those that were reconciled, `audit` all adjustments of all teams;
    `label` names the invoice in the reasons. Models below the threshold are left as they are."""
    prefix, filled = id_prefix(found.provider, found.month), f"{BACKFILL}/{found.month}/"
    done: dict[Where, int] = {}
    times: dict[Where, int] = {}
    backfilled: dict[Where, int] = {}
    for made in audit:
        a = made.adjustment
        where = (a.team, a.app, a.model)
        if a.adjustment_id.startswith(prefix):
            done[where] = done.get(where, 0) + a.cost_nanousd
            times[where] = times.get(where, 0) + 1
        elif a.adjustment_id.startswith(filled):
            backfilled[where] = backfilled.get(where, 0) + a.cost_nanousd
    wanted = targets(found, cells, egress_team, backfilled)
    limit = threshold or Threshold()
    left = {fingerprint(m.model) for m in found.models if m.charge == UNKNOWN or not limit.takes(m)}
    apart = {m.model for m in found.models if m.charge not in (USAGE, UNKNOWN)}
    out = []
    for where in sorted({*wanted, *done}):
        if fingerprint(where[2]) in left:
            continue
        nano = wanted.get(where, 0) - done.get(where, 0)
        if nano:
            key = f"{where}|{times.get(where, 0)}|{wanted.get(where, 0)}"
            digest = hashlib.sha256(key.encode()).hexdigest()[:20]
            reason = f"{label}: true-up of {found.provider} for {month_text(found.month)}"
            out.append(TrueUp(prefix + digest, *where, nano, reason, where[2] in apart))
    return out


def targets(
    found: Reconciliation,
    cells: Iterable[DayCell],
    egress_team: str,
    backfilled: Mapping[Where, int] | None = None,
) -> dict[Where, int]:
    """What closes the gap of every model, of which `backfilled` is closed."""
    spent = _spent(cells)
    wanted: dict[Where, int] = {}
    for model in found.models:
        if model.charge == UNKNOWN:
            continue
        if model.charge != USAGE:
            if model.gap_nanousd:
                where = (egress_team, OF_CHARGE[model.charge], model.model)
                wanted[where] = wanted.get(where, 0) + model.gap_nanousd
            continue
        key = fingerprint(model.model)
        closed = {w: n for w, n in (backfilled or {}).items() if fingerprint(w[2]) == key}
        for where, nano in _targets(model, spent.get(key, {}), egress_team, closed).items():
            wanted[where] = wanted.get(where, 0) + nano
    return wanted


def _spent(cells: Iterable[DayCell]) -> dict[str, dict[Where, int]]:
    """Metered money by model's fingerprint, then by team, app and model."""
    out: dict[str, dict[Where, int]] = {}
    for c in cells:
        into = out.setdefault(fingerprint(c.model), {})
        where = (c.team, c.app, c.model)
        into[where] = into.get(where, 0) + c.cost_nanousd - c.adjusted_nanousd
    return out


def _targets(
    model: ModelDrift, spent: Mapping[Where, int], egress_team: str, closed: Mapping[Where, int]
) -> dict[Where, int]:
    """The true-ups that close a model's gap; with what is closed they add up to it."""
    gap = model.gap_nanousd - sum(closed.values())
    passed = max(0, model.causes.get(BYPASS, 0)) - sum(n for w, n in closed.items() if w[1] == EGRESS_APP)
    out: dict[Where, int] = {}
    rest = gap - passed
    weights = {w: n for w, n in spent.items() if n > 0}
    if rest and not weights:
        passed, rest = gap, 0
    if passed:
        out[egress_team, EGRESS_APP, model.model] = passed
    names = sorted(weights)
    for where, nano in zip(names, share(rest, [weights[w] for w in names]), strict=True):
        if nano:
            out[where] = out.get(where, 0) + nano
    return out
