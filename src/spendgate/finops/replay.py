"""Usage logs as settlements, to tell a ledger again what it lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from spendgate.budget.ask import Ask, DecisionSettings
from spendgate.budget.bounds import Bound
from spendgate.budget.limits import bounds_of
from spendgate.budget.policy import Policy
from spendgate.ledger.exchanges import GroupShare, Settlement
from spendgate.pricing.catalogue import builtin
from spendgate.rebuild.rebuild import ALWAYS_LATE
from spendgate.records.outcome import Outcome
from spendgate.records.reader import read
from spendgate.records.record import UsageRecord
from spendgate.usage import input_total, output_total


def settlements(
    paths: tuple[Path, ...], policy: Policy, since_ms: int = 0, ahead_ms: int | None = None
) -> Iterator[Settlement]:
    """Every exchange that cost something or used tokens, once, since a time. Raises ConfigurationError.

    The bounds of the month are those of the policy given; days and hours that are over bound nobody, so of them only
    what the policy names is counted.

    `ahead_ms`: by how much the ledger's clock is ahead of that of the gateway which wrote the logs. Where it is known,
    no exchange is taken for a part of what was read from the ledger before the exchange began: its gateway may not
    have brought it home yet. None: all may be a part of it.
    """
    for record in read(paths):
        if record.outcome is Outcome.REFUSED or record.at_ms < since_ms:
            continue
        if not record.cost_nanousd and not record.tokens:
            continue
        bounds = _bounds(policy, record)
        told_us = ALWAYS_LATE if ahead_ms is None else max(ALWAYS_LATE, _began_ms(record, ahead_ms) * 1000)
        groups = dict.fromkeys(b.group for b in bounds if b.group)
        yield Settlement(
            record.exchange_id,
            record.team,
            record.app,
            record.model,
            record.cost_nanousd,
            {kind: n for kind, n in record.tokens.items() if kind != "requests"},
            record.at_ms,
            scopes=_scopes(bounds, "", record.at_ms),
            saved_nanousd=record.saved_nanousd,
            off_list_nanousd=record.off_list_nanousd,
            markup_nanousd=record.markup_nanousd,
            tokens=input_total(record.tokens) + output_total(record.tokens),
            groups=tuple(GroupShare(name, _scopes(bounds, name, record.at_ms)) for name in groups),
            acknowledged_us=told_us,
            counted_us=told_us,
        )


def _began_ms(record: UsageRecord, ahead_ms: int) -> int:
    """By the ledger's clock. What passed without it is dated by the gateway's own."""
    return record.at_ms + (ahead_ms if record.reason == "ledger_unavailable" else 0)


def _bounds(policy: Policy, record: UsageRecord) -> tuple[Bound, ...]:
    """The bounds that it stands in."""
    ask = Ask(
        team=record.team,
        app=record.app,
        model=record.model,
        dialect=record.dialect,
        input_tokens=0,
        run=record.run,
        user=record.user,
        tags=dict(record.tags),
        provider_of=lambda _: record.priced_by.provider or _maker(record.model),
    )
    groups = policy.groups_of(record.team)
    return bounds_of(policy.budget(record.team), ask, record.model, record.at_ms, DecisionSettings(), groups)


def _maker(model: str) -> str:
    entry = builtin().find(model.strip().lower())
    return entry.facts.provider if entry is not None else ""


def _scopes(bounds: tuple[Bound, ...], group: str, at_ms: int) -> tuple[tuple[str, str], ...]:
    return tuple((b.scope, b.window_at(at_ms)) for b in bounds if b.group == group)
