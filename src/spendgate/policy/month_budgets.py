"""The budgets that a month is judged by: the last that were in force in it, frozen when it is closed.

Whoever watches the budgets (`up`, the controller) writes them down in `sg1:budgets:<YYYYMM>`, a hash of team (or
template, or group) → document, at each change of the policy and at each new month. A closed month has its own copy in
its closing. Both live for 400 days, as the cells do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import orjson

from spendgate.budget.load import budget_from_document
from spendgate.budget.patterns import is_glob
from spendgate.budget.policy import Policy, TeamBudget
from spendgate.ledger.redis.client import Client, answered
from spendgate.ledger.redis.codec import team_prefix, text
from spendgate.months import month_last_ms

WHAT = "budgets of a month"
TTL_S = 400 * 86_400
TEAMS_PER_TRIP = 500


def budgets_key(month: str) -> str:
    """Where a month's budgets stand (`YYYYMM`)."""
    return f"sg1:budgets:{month}"


class BudgetBook:
    """Writes down what is in force, where that changed since this process last did."""

    def __init__(self, client: Client) -> None:
        self._redis = client
        self._at = ("", "")
        self._digests: dict[str, str] = {}

    async def note(self, policy: Policy, month: str) -> None:
        """The policy is in force in this month. Raises LedgerUnavailable."""
        if (month, policy.version) == self._at:
            return
        known = self._digests if month == self._at[0] else {}
        fresh = {b.team: b for b in policy.every if b.document and known.get(b.team) != b.digest}
        documents = {name: b.document for name, b in fresh.items()}
        if documents:
            pipe = self._redis.pipeline(transaction=False)
            pipe.hset(budgets_key(month), mapping=cast(Any, documents))
            pipe.expire(budgets_key(month), TTL_S)
            await answered(WHAT, pipe.execute())
        self._at = (month, policy.version)
        self._digests = known | {name: b.digest for name, b in fresh.items()}


async def documents_of(client: Client, teams: Sequence[str], month: str) -> dict[str, str] | None:
    """The document of each team's budget in a month, for teams that had one (their own, else a template's): as it was
    frozen, else as it was last written down. None where nothing was frozen or written down at all. Raises
    LedgerUnavailable."""
    written = await _written(client, month)
    is_known = bool(written)
    noted = _by_team(written, teams)
    for start in range(0, len(teams), TEAMS_PER_TRIP):
        some = teams[start : start + TEAMS_PER_TRIP]
        pipe = client.pipeline(transaction=False)
        for team in some:
            pipe.hget(f"{team_prefix(team)}closed", month)
        for team, raw in zip(some, await answered(WHAT, pipe.execute()), strict=True):
            closing = orjson.loads(raw) if raw else {}
            is_known |= "b" in closing
            if closing.get("b"):
                noted[team] = closing["b"]
            elif "b" in closing:
                noted.pop(team, None)  # closed without a budget
    return noted if is_known else None


async def groups_of(client: Client, month: str) -> dict[str, str]:
    """The documents of the groups' budgets that were last in force in a month, by name. Raises LedgerUnavailable."""
    return {k: v for k, v in (await _written(client, month)).items() if _members(v)}


async def _written(client: Client, month: str) -> dict[str, str]:
    found = await answered(WHAT, cast(Awaitable[Any], client.hgetall(budgets_key(month))))
    return {text(k): text(v) for k, v in found.items()}


def _by_team(written: Mapping[str, str], teams: Sequence[str]) -> dict[str, str]:
    """Each team's own document, else that of the template that it falls to."""
    own = {name: doc for name, doc in written.items() if not (is_glob(name) or _members(doc))}
    templates = Policy.of(
        compiled({n: d for n, d in written.items() if is_glob(n) and not _members(d)}).values()
    )
    if not templates.templates:
        return own
    found = {t: templates.template_of(t) for t in teams if t not in own}
    return own | {t: b.document for t, b in found.items() if b is not None}


def _members(document: str) -> bool:
    return bool(orjson.loads(document)["spec"].get("members"))


def compiled(documents: Mapping[str, str]) -> dict[str, TeamBudget]:
    """The budgets of documents, by team. Raises ConfigurationError."""
    return {
        team: replace(budget_from_document(orjson.loads(document), f"budget of {team}"), team=team)
        for team, document in documents.items()
    }


async def budgets_of(client: Client, teams: Sequence[str], month: str) -> dict[str, TeamBudget] | None:
    """Each team's own budget in a month that is over, for teams that had one; None where nothing is known of the
    month's budgets. Raises LedgerUnavailable."""
    found = await documents_of(client, teams, month)
    return None if found is None else compiled(found)


def limits_of(budgets: Mapping[str, TeamBudget], month: str) -> dict[str, int]:
    """What each budget came to at the month's end, nano-USD: with the raises that were in force then, without what was
    carried over."""
    at_ms = month_last_ms(month)
    return {team: b.limit_nanousd(at_ms) for team, b in budgets.items()}
