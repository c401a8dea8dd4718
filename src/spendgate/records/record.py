"""One settled exchange as data: the usage log's line. Never a word of a prompt or an answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import orjson

from spendgate.ledger.exchanges import Expired, Settlement
from spendgate.money import nano_to_usd
from spendgate.records.outcome import ChargedBy, MetricFlags, Outcome
from spendgate.usage import Usage


@dataclass(frozen=True, slots=True)
class UsagePart:
    """One model's share of an exchange that was billed for several; the cost in nano-USD."""

    model: str
    tokens: Usage
    cost_nanousd: int

    def row(self) -> dict[str, object]:
        """The part as the usage log writes it."""
        return {"model": self.model, "tokens": self.tokens, "cost_usd": nano_to_usd(self.cost_nanousd)}


@dataclass(frozen=True, slots=True)
class PricedBy:
    """Which price an exchange was charged by, beside its model and time: enough to do it again.

    `provider`: whose list, where the model's name alone would find another price. `service_tier`,
    `residency`: `` for the standard ones. `stand_in`: the model whose price was taken for one without a price.
    `unpriced`: the kinds of usage (and `service_tier`) that had none and were charged by a stand-in.
    """

    provider: str = ""
    service_tier: str = ""
    residency: str = ""
    stand_in: str = ""
    unpriced: tuple[str, ...] = ()

    @property
    def has_stand_in(self) -> bool:
        """Was anything charged by a price that is not its own?"""
        return bool(self.stand_in or self.unpriced)

    def joined(self, other: PricedBy) -> PricedBy:
        """Both, where several models were billed: this one's words before the other's."""
        return PricedBy(
            self.provider or other.provider,
            self.service_tier or other.service_tier,
            self.residency or other.residency,
            self.stand_in or other.stand_in,
            tuple(sorted({*self.unpriced, *other.unpriced})),
        )

    def row(self) -> dict[str, object]:
        """What of it is worth a word in the usage log."""
        fields = {
            "provider": self.provider,
            "service_tier": self.service_tier,
            "residency": self.residency,
            "stand_in": self.stand_in,
        }
        row: dict[str, object] = {k: v for k, v in fields.items() if v}
        return row | {"unpriced": list(self.unpriced)} if self.unpriced else row


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """The fields of docs/reference/usage-log.md; amounts in nano-USD, `at_ms` the time of the reservation."""

    exchange_id: str
    request_id: str
    at_ms: int
    team: str
    app: str
    user: str
    run: str
    dialect: str
    model_requested: str
    model: str
    upstream: str
    tokens: Usage
    cost_nanousd: int
    estimate_nanousd: int
    price_version: str
    decision: str
    reason: str
    outcome: Outcome
    unmetered: str = ""
    parts: tuple[UsagePart, ...] = ()
    """Where several models were billed: one entry each; their costs add up to `cost_nanousd`."""
    saved_nanousd: int = 0
    """What the model asked for would have cost more (below zero: less), at the same usage."""
    priced_by: PricedBy = field(default_factory=PricedBy)
    model_answered: str = ""
    """The model that the provider says it answered with; `` where it says none."""
    attempts: int = 0
    """How often Envoy sent it to the provider; 0 where Envoy does not tell."""
    charged_by: ChargedBy = ChargedBy.NOTHING
    flags: tuple[str, ...] = ()
    """What was odd about it."""
    end_user: str = ""
    """Whom the request itself names; nobody vouches for it."""
    tags: tuple[tuple[str, str], ...] = ()
    """(name, value) of what the setting `tags` names and the request had."""
    off_list_nanousd: int = 0
    """By how much the cost is below list prices (below zero: above)."""
    markup_nanousd: int = 0
    """The part of the cost that the provider does not bill."""

    def line(self) -> bytes:
        """Write the line of the usage log, without its newline."""
        at = datetime.fromtimestamp(self.at_ms / 1000, UTC)
        row: dict[str, object] = {
            "exchange_id": self.exchange_id,
            "request_id": self.request_id,
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "team": self.team,
            "app": self.app,
            "user": self.user,
            "run": self.run,
            "dialect": self.dialect,
            "model_requested": self.model_requested,
            "model": self.model,
            "upstream": self.upstream,
            "tokens": self.tokens,
            "cost_usd": nano_to_usd(self.cost_nanousd),
            "estimate_usd": nano_to_usd(self.estimate_nanousd),
            "price_version": self.price_version,
            "decision": self.decision,
            "reason": self.reason,
            "outcome": self.outcome.value,
        }
        if self.unmetered:
            row["unmetered"] = self.unmetered
        if self.saved_nanousd:
            row["saved_usd"] = nano_to_usd(self.saved_nanousd)
        if priced_by := self.priced_by.row():
            row["priced_by"] = priced_by
        if self.parts:
            row["parts"] = [part.row() for part in self.parts]
        if self.model_answered:
            row["model_answered"] = self.model_answered
        if self.attempts:
            row["attempts"] = self.attempts
        row["charged_by"] = self.charged_by.value
        row["flags"] = self.flags
        if self.off_list_nanousd:
            row["list_cost_usd"] = nano_to_usd(self.cost_nanousd + self.off_list_nanousd)
        if self.markup_nanousd:
            row["effective_cost_usd"] = nano_to_usd(self.cost_nanousd - self.markup_nanousd)
        if self.end_user:
            row["end_user"] = self.end_user
        if self.tags:
            row["tags"] = dict(self.tags)
        return orjson.dumps(row)


@dataclass(frozen=True, slots=True)
class ExchangeResult:
    """What is left to do when an exchange is over: settle (None: nothing was held), log, count."""

    record: UsageRecord
    settlement: Settlement | None = None
    held_nanousd: int = 0
    notes: MetricFlags = field(default_factory=MetricFlags)


def expired_ending(expired: Expired, price_version: str) -> ExchangeResult:
    """The ending of a hold that nobody settled in time (its worker died): charged at the estimate."""
    record = UsageRecord(
        exchange_id=expired.exchange_id,
        request_id="",
        at_ms=expired.at_ms,
        team=expired.team,
        app=expired.app,
        user="",
        run="",
        dialect="",
        model_requested="",
        model=expired.model,
        upstream="",
        tokens={},
        cost_nanousd=expired.charged_nanousd,
        estimate_nanousd=expired.charged_nanousd,
        price_version=price_version,
        decision="allow",
        reason="expired",
        outcome=Outcome.UNMETERED,
        unmetered="expired",
        charged_by=ChargedBy.HOLD,
    )
    return ExchangeResult(record, None, expired.charged_nanousd, MetricFlags(unmetered="expired"))
