"""Which models requests can be sent to, and which of them have no price. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from spendgate.budget.policy import TeamBudget
from spendgate.exchange.snapshot import Snapshot
from spendgate.pricing.listing import rows
from spendgate.pricing.names import is_glob
from spendgate.pricing.table import PriceTable
from spendgate.pricing.terms import Terms, provider_of_url
from spendgate.values import dataclass


@dataclass(frozen=True, slots=True)
class Mention:
    """A model, or a glob of models, that a budget or an upstream names; `provider` `` where any may serve it."""

    model: str
    by: str
    provider: str = ""


def mentions(snapshot: Snapshot) -> list[Mention]:
    """Every model that policy and settings name, once a place."""
    found = [m for b in snapshot.policy.every for m in _of_budget(b)]
    for upstream in snapshot.settings.upstreams:
        provider = upstream.provider or provider_of_url(upstream.url)
        found += [Mention(m, f"upstream {upstream.name}", provider) for m in upstream.models]
    return found


def _of_budget(budget: TeamBudget) -> Iterator[Mention]:
    team = f"{'group' if budget.is_group else 'team'} {budget.team}"
    if budget.default_model:
        yield Mention(budget.default_model, f"{team}: defaultModel")
    if budget.routing:
        yield Mention(budget.routing.cheap_model, f"{team}: costRouting.cheapModel")
        yield Mention(budget.routing.expensive_model, f"{team}: costRouting.expensiveModel")
    for rule in budget.downgrades:
        yield Mention(rule.pattern.text, f"{team}: downgrades.from")
        yield Mention(rule.to, f"{team}: downgrades.to")
    for limit in budget.model_rules:
        yield Mention(limit.pattern.text, f"{team}: modelLimits")


def without_price(snapshot: Snapshot, at_ms: int) -> list[Mention]:
    """The mentions that no price covers: of a glob, where not one model of the table matches."""
    return [m for m in mentions(snapshot) if m.model and not _covered(snapshot.prices, m, at_ms)]


def _covered(prices: PriceTable, mention: Mention, at_ms: int) -> bool:
    if not is_glob(mention.model):
        return prices.find(mention.model, Terms(mention.provider, at_ms=at_ms)) is not None
    return any(
        fnmatchcase(row.model, mention.model)
        or (row.where == "glob" and fnmatchcase(mention.model, row.model))
        for row in rows(prices)
    ) or any(fnmatchcase(name, mention.model) for name in prices.aliases)
