"""True-ups: adjustments that bring the ledger to a provider's invoice. Pure; nano-USD.

What bypassed the gateway is charged to one team that is named for it, as app `direct egress`. All else of a model
is shared out to the apps that used it, in proportion to what they were metered for in the month. The target is
computed anew each time and what was trued up before is taken off it, so a second run finds nothing to do; ids are
made of the target and of how many true-ups there were, so two runs at once make the same ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from spendgate.finops.chargeback import share
from spendgate.finops.invoice.line import fingerprint
from spendgate.finops.reconcile import BYPASS, ModelDrift, Reconciliation
from spendgate.ledger.port import Adjusted, Adjustment, DayCell
from spendgate.months import month_text

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

    def adjustment(self, by: str, scopes: tuple[str, ...]) -> Adjustment:
        """As the ledger takes it: in the open month."""
        return Adjustment(
            self.adjustment_id, self.team, self.nano, self.reason, by, self.app, self.model, scopes=scopes
        )


def id_prefix(kind: str, provider: str, month: str) -> str:
    """How the ids of a month's corrections begin."""
    return f"{kind}/{provider}/{month}/"


def corrections(audit: Iterable[Adjusted], provider: str, month: str) -> dict[str, int]:
    """What true-ups and backfills have corrected of a provider's month, by model."""
    out: dict[str, int] = {}
    begins = (id_prefix(PREFIX, provider, month), id_prefix(BACKFILL, provider, month))
    for made in audit:
        a = made.adjustment
        if a.adjustment_id.startswith(begins):
            out[a.model] = out.get(a.model, 0) + a.cost_nanousd
    return out


def true_ups(
    found: Reconciliation,
    cells: Iterable[DayCell],
    audit: Iterable[Adjusted],
    egress_team: str,
    label: str,
) -> list[TrueUp]:
    """What is to be adjusted. `cells` are those that were reconciled, `audit` all adjustments of all teams;
    `label` names the invoice in the reasons."""
    prefix = id_prefix(PREFIX, found.provider, found.month)
    backfilled = id_prefix(BACKFILL, found.provider, found.month)
    done: dict[Where, int] = {}
    times: dict[Where, int] = {}
    for made in audit:
        a = made.adjustment
        where = (a.team, a.app, a.model)
        if a.adjustment_id.startswith((prefix, backfilled)):
            done[where] = done.get(where, 0) + a.cost_nanousd
            times[where] = times.get(where, 0) + a.adjustment_id.startswith(prefix)
    spent = _spent(cells)
    wanted: dict[Where, int] = {}
    for model in found.models:
        for where, nano in _targets(model, spent.get(fingerprint(model.model), {}), egress_team).items():
            wanted[where] = wanted.get(where, 0) + nano
    out = []
    for where in sorted({*wanted, *done}):
        nano = wanted.get(where, 0) - done.get(where, 0)
        if nano:
            key = f"{where}|{times.get(where, 0)}|{wanted.get(where, 0)}"
            digest = hashlib.sha256(key.encode()).hexdigest()[:20]
            reason = f"{label}: true-up of {found.provider} for {month_text(found.month)}"
            out.append(TrueUp(prefix + digest, *where, nano, reason))
    return out


def _spent(cells: Iterable[DayCell]) -> dict[str, dict[Where, int]]:
    """Metered money by model's fingerprint, then by team, app and model."""
    out: dict[str, dict[Where, int]] = {}
    for c in cells:
        into = out.setdefault(fingerprint(c.model), {})
        where = (c.team, c.app, c.model)
        into[where] = into.get(where, 0) + c.cost_nanousd - c.adjusted_nanousd
    return out


def _targets(model: ModelDrift, spent: Mapping[Where, int], egress_team: str) -> dict[Where, int]:
    """The true-ups that close a model's gap; they add up to it."""
    passed = max(0, model.causes.get(BYPASS, 0))
    out: dict[Where, int] = {}
    rest = model.gap_nanousd - passed
    weights = {w: n for w, n in spent.items() if n > 0}
    if rest and not weights:
        passed, rest = model.gap_nanousd, 0
    if passed:
        out[egress_team, EGRESS_APP, model.model] = passed
    names = sorted(weights)
    for where, nano in zip(names, share(rest, [weights[w] for w in names]), strict=True):
        if nano:
            out[where] = out.get(where, 0) + nano
    return out
