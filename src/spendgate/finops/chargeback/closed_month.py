"""A closed month as one document that outlives the ledger. Pure.

It holds all that the month's reports are made of: the closings with their digests, the lines of days with the cost of
each kind, the adjustments, and the budgets that the month is judged by, whole. So the same reports come of it, byte for
byte, when budgets and prices were changed since and the ledger is gone. Amounts are exact decimal strings of USD.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from spendgate.budget.policy import Policy, TeamBudget
from spendgate.errors import ConfigurationError
from spendgate.finops.chargeback.chargeback import cell_costs
from spendgate.finops.chargeback.groups import Groups
from spendgate.ledger.accounting import entries_of
from spendgate.ledger.accounts import Adjusted, Adjustment, DayCell, TeamMonth
from spendgate.ledger.redis.closing import Closing
from spendgate.money import nano_to_usd, usd_to_nano
from spendgate.months import month_last_ms, month_start, month_text, parse_month, utc
from spendgate.policy.month_budgets import compiled, limits_of
from spendgate.policy.store import canonical_json
from spendgate.pricing.table import PriceTable
from spendgate.values import dataclass

FORMAT = "spendgate closed month"
VERSION = 1


@dataclass(frozen=True, slots=True)
class ClosedMonth:
    """A month (`YYYYMM`) as it was closed. `cells` are the ledger's, with what each kind cost; `adjustments` those that
    were booked in the month; `budgets` the documents by team; `prices` names the list that the kinds were shared by."""

    month: str
    closings: tuple[Closing, ...]
    cells: tuple[DayCell, ...]
    adjustments: tuple[Adjusted, ...]
    budgets: Mapping[str, str]
    prices: str
    groups: Mapping[str, str] = field(default_factory=dict)
    """The documents of the groups' budgets, by name."""
    carried: Mapping[str, int] = field(default_factory=dict)
    """What the month before left to the budgets, nano-USD by team, where it left anything."""

    groups_carried: Mapping[str, int] = field(default_factory=dict)
    """The same of groups, by name."""

    @property
    def entries(self) -> list[DayCell]:
        """The accounting entries beside the counters, as cells."""
        return entries_of(self.adjustments, self.month)

    @property
    def limits(self) -> dict[str, int]:
        """Nano-USD by team: the budgets at the month's end, with what was carried over. Raises ConfigurationError."""
        return _limits(compiled(self.budgets), self.month, self.carried)

    @property
    def grouping(self) -> Groups:
        """The groups at the month's end, and their budgets likewise. Raises ConfigurationError."""
        own = compiled(self.groups)
        return Groups(Policy.of(own.values()), _limits(own, self.month, self.groups_carried))

    def months(self) -> list[TeamMonth]:
        """Each team's month, as the ledger had it."""
        settled = {c.team: c.settled_nanousd for c in self.closings}
        cells: dict[str, list[DayCell]] = {}
        for cell in self.cells:
            cells.setdefault(cell.team, []).append(cell)
        return [
            team_month(t, self.month, settled.get(t, 0), cells.get(t, ()))
            for t in sorted({*settled, *self.budgets})
        ]


def _limits(budgets: Mapping[str, TeamBudget], month: str, carried: Mapping[str, int]) -> dict[str, int]:
    return {name: nano + carried.get(name, 0) for name, nano in limits_of(budgets, month).items()}


def closed_month(
    month: str,
    closings: Iterable[Closing],
    cells: Iterable[DayCell],
    adjustments: Iterable[Adjusted],
    budgets: Mapping[str, str],
    prices: PriceTable,
    groups: Mapping[str, str] | None = None,
    carried: Mapping[str, int] | None = None,
    groups_carried: Mapping[str, int] | None = None,
) -> ClosedMonth:
    """Put a month together; a team that neither spent in it nor had a budget is no part of it. Raises ValueError where
    a team's month is open or has changed since its close."""
    some = tuple(
        sorted(
            (c for c in closings if c.settled_nanousd or c.cells_nanousd or c.requests or c.team in budgets),
            key=lambda c: c.team,
        )
    )
    if not_closed := [c.team for c in some if c.state not in ("closed", "again")]:
        raise ValueError(f"{month_text(month)} is not closed for {', '.join(not_closed)}")
    teams = {c.team for c in some}
    return ClosedMonth(
        month,
        some,
        tuple(replace(c, kind_costs=dict(cell_costs(c, prices))) for c in cells),
        tuple(a for a in adjustments if a.booked_day.startswith(month)),
        {t: budgets[t] for t in sorted(teams & budgets.keys())},
        prices.version,
        dict(sorted((groups or {}).items())),
        {t: nano for t, nano in sorted((carried or {}).items()) if t in teams and nano},
        {name: nano for name, nano in sorted((groups_carried or {}).items()) if nano},
    )


def team_month(team: str, month: str, settled_nanousd: int, cells: Sequence[DayCell]) -> TeamMonth:
    """A team's month from its days."""
    models: dict[str, int] = {}
    apps: dict[str, int] = {}
    tokens: dict[str, int] = {}
    costs: dict[tuple[str, str], int] = {}
    adjusted: dict[tuple[str, str], int] = {}
    for c in cells:
        where = (c.app, c.model)
        if c.adjusted_nanousd:
            adjusted[where] = adjusted.get(where, 0) + c.adjusted_nanousd
        if c.requests or c.cost_nanousd or c.adjusted_nanousd:
            costs[where] = costs.get(where, 0) + c.cost_nanousd
            models[c.model] = models.get(c.model, 0) + c.cost_nanousd
            apps[c.app] = apps.get(c.app, 0) + c.cost_nanousd
        for kind, n in c.tokens.items():
            tokens[kind] = tokens.get(kind, 0) + n
    return TeamMonth(
        team, month, settled_nanousd, 0, sum(c.requests for c in cells), models, apps, tokens, costs,
        saved_nanousd=sum(c.saved_nanousd for c in cells), refused=sum(c.refused for c in cells), adjusted=adjusted,
    )  # fmt: skip


def to_json(of: ClosedMonth) -> str:
    """The document: the same month gives the same bytes."""
    last = month_last_ms(of.month)
    limits, amounts, group_limits = compiled(of.budgets), of.limits, of.grouping.limits
    document = {
        "format": FORMAT,
        "version": VERSION,
        "month": month_text(of.month),
        "calendar": {
            "time_zone": "UTC",
            "start": month_start(last).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "end": utc(last + 1).strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        "currency": "USD",
        "prices": of.prices,
        "settled_usd": nano_to_usd(sum(c.settled_nanousd for c in of.closings)),
        "closings": [
            {
                "team": c.team, "closed_at_ms": c.closed_ms, "by": c.by, "settled_usd": nano_to_usd(c.settled_nanousd),
                "lines_usd": nano_to_usd(c.cells_nanousd), "requests": c.requests, "digest": c.digest,
            }
            for c in of.closings
        ],
        "budgets": [
            {
                "team": team, "limit_usd": nano_to_usd(amounts[team]), "owner": limits[team].contact,
                "document": json.loads(document),
            } | ({"carried_usd": nano_to_usd(of.carried[team])} if team in of.carried else {})
            for team, document in sorted(of.budgets.items())
        ],
        "groups": [
            {"group": name, "limit_usd": nano_to_usd(group_limits[name]), "document": json.loads(document)}
            | ({"carried_usd": nano_to_usd(of.groups_carried[name])} if name in of.groups_carried else {})
            for name, document in of.groups.items()
        ],
        "lines": [_line(c) for c in of.cells],
        "adjustments": [_adjustment(a) for a in of.adjustments],
    }  # fmt: skip
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def from_json(text: str, where: str) -> ClosedMonth:
    """Read what `to_json` wrote. Raises ConfigurationError."""
    try:
        d = json.loads(text)
        if d["format"] != FORMAT or d["version"] != VERSION:
            raise ValueError(f"is of the form {d['format']!r} {d['version']}; this release reads {VERSION}")
        month = parse_month(d["month"])
        return ClosedMonth(
            month,
            tuple(
                Closing(
                    c["team"], month, "again", usd_to_nano(c["settled_usd"]), usd_to_nano(c["lines_usd"]),
                    c["requests"], c["digest"], c["closed_at_ms"], c["by"],
                )
                for c in d["closings"]
            ),
            tuple(_cell(x) for x in d["lines"]),
            tuple(_adjusted(x) for x in d["adjustments"]),
            {
                b["team"]: _document(b["document"]) for b in d["budgets"]
            },
            d["prices"],
            {g["group"]: _document(g["document"]) for g in d.get("groups", ())},
            {b["team"]: usd_to_nano(b["carried_usd"]) for b in d["budgets"] if "carried_usd" in b},
            {g["group"]: usd_to_nano(g["carried_usd"]) for g in d.get("groups", ()) if "carried_usd" in g},
        )  # fmt: skip
    except (ValueError, KeyError, TypeError) as e:
        raise ConfigurationError(f"{where}: not a closed month: {type(e).__name__}: {e}") from e


def _document(document: Mapping[str, Any]) -> str:
    return canonical_json(document).decode()


def _line(c: DayCell) -> dict[str, Any]:
    row: dict[str, Any] = {
        "team": c.team, "day": c.day, "app": c.app, "model": c.model, "requests": c.requests,
        "cost_usd": nano_to_usd(c.cost_nanousd), "tokens": c.tokens,
        "kinds_usd": {k: nano_to_usd(n) for k, n in c.kind_costs.items()},
    }  # fmt: skip
    if c.saved_nanousd:
        row["saved_usd"] = nano_to_usd(c.saved_nanousd)
    if c.refused:
        row["refused"] = c.refused
    if c.adjusted_nanousd:
        row["adjusted_usd"] = nano_to_usd(c.adjusted_nanousd)
    for name, nano in (("off_list_usd", c.off_list_nanousd), ("markup_usd", c.markup_nanousd)):
        if nano:
            row[name] = nano_to_usd(nano)
    return row


def _cell(x: Mapping[str, Any]) -> DayCell:
    return DayCell(
        x["team"], x["day"], x["app"], x["model"], x["requests"], usd_to_nano(x["cost_usd"]), dict(x["tokens"]),
        usd_to_nano(x.get("saved_usd", "0")), x.get("refused", 0), usd_to_nano(x.get("adjusted_usd", "0")),
        kind_costs={k: usd_to_nano(n) for k, n in x["kinds_usd"].items()},
        off_list_nanousd=usd_to_nano(x.get("off_list_usd", "0")), markup_nanousd=usd_to_nano(x.get("markup_usd", "0")),
    )  # fmt: skip


def _adjustment(made: Adjusted) -> dict[str, Any]:
    a = made.adjustment
    return {
        "id": a.adjustment_id, "team": a.team, "usd": nano_to_usd(a.cost_nanousd), "reason": a.reason, "by": a.by,
        "app": a.app, "model": a.model, "day": a.day, "usage": a.usage, "requests": a.requests,
        "scopes": list(a.scopes), "booked_day": made.booked_day, "at_ms": made.at_ms,
        "settled_after_usd": nano_to_usd(made.settled_after_nanousd),
    }  # fmt: skip


def _adjusted(x: Mapping[str, Any]) -> Adjusted:
    made = Adjustment(
        x["id"], x["team"], usd_to_nano(x["usd"]), x["reason"], x["by"], x["app"], x["model"], x["day"],
        dict(x["usage"]), x["requests"], tuple(x["scopes"]),
    )  # fmt: skip
    return Adjusted(made, x["booked_day"], x["at_ms"], usd_to_nano(x["settled_after_usd"]))
