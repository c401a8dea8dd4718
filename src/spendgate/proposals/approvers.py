"""Who must approve a change of a budget, by amount and team. Pure.

The file lies in the repository of the policy, so that it is reviewed like the budgets themselves:

    approvers:
      - {upToUSD: 500, who: [payments-lead], teams: ["payments*"]}
      - {upToUSD: 5000, who: [finops]}
      - {who: [vp-engineering]}

The first line that fits in order of the amount decides; one of its names is enough. A name with a slash is a
group (`org/finance`). An amount that no line covers can be approved by nobody: the last line has no `upToUSD`.
"""

from __future__ import annotations

import fnmatch
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spendgate.budget.policy import Policy, TeamBudget
from spendgate.budget.yaml_lines import read_documents
from spendgate.errors import ConfigurationError, Fault
from spendgate.money import usd_cell, usd_to_nano
from spendgate.values import dataclass

FILES = ("approvers.yaml", ".spendgate/approvers.yaml")
"""Where it is looked for in the repository."""


class Rule(BaseModel):
    """One line. `up_to_usd` None: any amount. `teams`: globs; empty: every team."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    up_to_usd: Annotated[Decimal, Field(gt=0)] | None = Field(None, alias="upToUSD")
    who: tuple[str, ...] = Field(min_length=1)
    teams: tuple[str, ...] = ()

    def covers(self, team: str, amount_nanousd: int) -> bool:
        """Does the line speak of this team and amount?"""
        if self.teams and not any(fnmatch.fnmatchcase(team, t) for t in self.teams):
            return False
        return self.up_to_usd is None or amount_nanousd <= usd_to_nano(self.up_to_usd)


class Approvers(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    approvers: tuple[Rule, ...] = ()

    def who(self, team: str, amount_nanousd: int) -> tuple[str, ...]:
        """One of these must approve; empty: the file says nothing about it."""
        if amount_nanousd <= 0:
            return ()
        top = Decimal("Infinity")
        in_order = sorted(self.approvers, key=lambda r: top if r.up_to_usd is None else r.up_to_usd)
        return next((r.who for r in in_order if r.covers(team, amount_nanousd)), ())


def parse_approvers(text: str, path: str) -> Approvers:
    """Read the file. Raises ConfigurationError with every fault."""
    documents, faults = read_documents(text, path)
    if faults:
        raise ConfigurationError(faults)
    data: Any = documents[0].data if documents else {}
    try:
        return Approvers.model_validate(data)
    except ValidationError as e:
        raise ConfigurationError(
            [
                Fault(
                    path,
                    documents[0].line_of(tuple(error["loc"])) if documents else 0,
                    ".".join(map(str, error["loc"])),
                    error["msg"],
                    "write {upToUSD: 500, who: [name], teams: [glob]}",
                )
                for error in e.errors()
            ]
        ) from e


@dataclass(frozen=True, slots=True)
class Growth:
    """What a team's budget grows by at the most, now or later, and who may approve that."""

    team: str
    amount_nanousd: int
    what: str
    who: tuple[str, ...]


def growths(before: Policy, after: Policy, approvers: Approvers, now_ms: int) -> list[Growth]:
    """Every team whose budget would grow: a higher month, or new increases that have not ended.

    A team without a budget before is not bounded today: its first budget is no growth. A budget taken away,
    or one that no longer refuses, is: its team would be bounded by nothing. Increases add up.
    """
    out: list[Growth] = []
    for team in sorted({*before.teams, *after.teams}):
        old, new = before.budget(team), after.budget(team)
        if old is None:
            continue
        if new is None or (_refuses(old) and not _refuses(new)):
            what = "its budget is removed" if new is None else "its budget no longer refuses"
            amount = max(old.monthly_nanousd, 1)
            out.append(Growth(team, amount, what, approvers.who(team, amount)))
            continue
        lasting = new.monthly_nanousd - old.monthly_nanousd
        rest = list(old.raises)
        passing = 0
        for r in new.raises:
            if r in rest:
                rest.remove(r)
            elif r.until_ms > now_ms:
                passing += r.amount_nanousd
        amount = max(lasting, 0) + passing
        if amount <= 0:
            continue
        parts = [f"{usd_cell(lasting, '$')} a month"] if lasting > 0 else []
        parts += [f"{usd_cell(passing, '$')} for a time"] if passing else []
        out.append(Growth(team, amount, " and ".join(parts), approvers.who(team, amount)))
    return out


def _refuses(budget: TeamBudget) -> bool:
    return not budget.audit and budget.reject_threshold is not None


def missing(growths_found: list[Growth], approved_by: set[str], groups: dict[str, set[str]]) -> list[Growth]:
    """Those that nobody entitled has approved. `groups` names the members of groups."""
    out = []
    for g in growths_found:
        names = {n for w in g.who for n in (groups.get(w, set()) | {w})}
        if not names & approved_by:
            out.append(g)
    return out
