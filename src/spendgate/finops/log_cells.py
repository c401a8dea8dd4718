"""A month from usage logs: the same cells that the ledger keeps, and finer ones. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from spendgate.finops.chargeback.parties import seller_of_record
from spendgate.ledger.accounts import DayCell
from spendgate.months import day_key
from spendgate.records.outcome import Outcome
from spendgate.records.record import UsageRecord

DAY_MS = 86_400_000
TAGS, TAG = "\x1f", "\x1e"
"""What stands between tags, and between a tag's name and its value: in neither."""
UNTAGGED = "(none)"
_SETTLED = (Outcome.COMPLETE, Outcome.UNMETERED)


def is_exchange(record: UsageRecord) -> bool:
    """Does the ledger count it? Refusals and what was voided (a provider's error) are no exchanges there."""
    if record.outcome is Outcome.REFUSED:
        return False
    charged = record.cost_nanousd or record.tokens
    return bool(charged or (record.outcome in _SETTLED and record.estimate_nanousd))


def cells_of(
    records: Iterable[UsageRecord],
    month: str,
    team: str | None = None,
    finest: bool = False,
    kinds: Callable[[UsageRecord], Mapping[str, int]] | None = None,
    by_tag: str = "",
) -> list[DayCell]:
    """Add a month's records (`YYYYMM`, by the time of their reservation) up, sorted by team, day, app and model.

    `finest` keeps apart what the ledger does not know: runs, providers, models asked for, tiers and users. `kinds`
    tells what each kind of an exchange cost (nano-USD). `by_tag`: the values of this tag stand in the place of apps.
    """
    days: dict[int, str] = {}
    sums: dict[tuple[str, ...], list[int]] = {}
    tokens: dict[tuple[str, ...], dict[str, int]] = {}
    costs: dict[tuple[str, ...], dict[str, int]] = {}
    for r in records:
        if team not in (None, r.team):
            continue
        number = r.at_ms // DAY_MS
        day = days.get(number) or days.setdefault(number, day_key(r.at_ms))
        if day[:6] != month:
            continue
        app = dict(r.tags).get(by_tag, UNTAGGED) if by_tag else r.app
        key: tuple[str, ...] = (r.team, day, app, r.model)
        if finest:
            tier, tagged = r.priced_by.service_tier, TAGS.join(map(TAG.join, r.tags))
            key = (*key, r.run, seller_of_record(r), r.model_requested, tier, r.user, tagged)
        row = sums.get(key)
        if row is None:
            row, tokens[key] = sums.setdefault(key, [0, 0, 0, 0, 0, 0]), {}
        if r.outcome is Outcome.REFUSED:
            row[3] += 1
            continue
        row[0] += is_exchange(r)
        row[1] += r.cost_nanousd
        row[2] += r.saved_nanousd
        row[4] += r.off_list_nanousd
        row[5] += r.markup_nanousd
        into = tokens[key]
        for kind, n in r.tokens.items():
            into[kind] = into.get(kind, 0) + n
        if kinds is not None:
            into = costs.setdefault(key, {})
            for kind, nano in kinds(r).items():
                into[kind] = into.get(kind, 0) + nano
    out = []
    for key, (requests, cost, saved, refused, off_list, markup) in sorted(sums.items()):
        found = tokens[key]
        of, day, app, model, *beyond = key
        if requests or cost or refused or found:
            run, provider, asked, tier, user, tagged = beyond or ("",) * 6
            tags = tuple(pair for pair in (t.partition(TAG)[::2] for t in tagged.split(TAGS)) if pair[0])
            out.append(DayCell(
                of, day, app, model, requests, cost, found, saved, refused, 0, run, provider, asked, tier, user,
                costs.get(key, {}), tags, off_list, markup,
            ))  # fmt: skip
    return out


def with_kinds(cells: Iterable[DayCell], logged: Iterable[DayCell]) -> tuple[list[DayCell], int]:
    """The ledger's cells with the cost of each kind as usage logs know it, and how many of them the logs do not have,
    or not at the same cost."""
    known = {(c.team, c.day, c.app, c.model): c for c in logged}
    out, missing = [], 0
    for cell in cells:
        metered = cell.cost_nanousd - cell.adjusted_nanousd
        there = known.get((cell.team, cell.day, cell.app, cell.model))
        if there is not None and there.cost_nanousd == metered == sum(there.kind_costs.values()):
            out.append(replace(cell, kind_costs=dict(there.kind_costs)))
        else:
            missing += metered != 0
            out.append(cell)
    return out, missing
