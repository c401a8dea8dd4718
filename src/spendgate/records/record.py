"""One settled exchange as data: the usage log's line. Never a word of a prompt or an answer."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any

import orjson

from spendgate.ledger.exchanges import Expired, Settlement
from spendgate.money import nano_to_usd
from spendgate.records.columns import (
    COUNT,
    COUNTS,
    NAMED_TEXTS,
    SIGNED_USD,
    TEXT,
    TIME,
    USD,
    WORD,
    WORDS,
    Column,
    Columns,
    Kind,
    Row,
    object_of,
    objects_of,
    one_of,
)
from spendgate.records.outcome import ChargedBy, MetricFlags, Outcome
from spendgate.usage import Usage
from spendgate.values import dataclass


@dataclass(frozen=True, slots=True)
class UsagePart:
    """One model's share of an exchange that was billed for several; the cost in nano-USD."""

    model: Annotated[str, Column(TEXT)]
    tokens: Annotated[Usage, Column(COUNTS)]
    cost_nanousd: Annotated[int, Column(USD, "cost_usd")]


@dataclass(frozen=True, slots=True)
class PricedBy:
    """Which price an exchange was charged by, beside its model and time: enough to do it again.

    `provider`: whose list, where the model's name alone would find another price. `service_tier`,
    `residency`: `` for the standard ones. `stand_in`: the model whose price was taken for one without a price.
    `unpriced`: the kinds of usage (and `service_tier`) that had none and were charged by a stand-in.
    """

    provider: Annotated[str, Column(WORD, sparse=True)] = ""
    service_tier: Annotated[str, Column(WORD, sparse=True)] = ""
    residency: Annotated[str, Column(WORD, sparse=True)] = ""
    stand_in: Annotated[str, Column(WORD, sparse=True)] = ""
    unpriced: Annotated[tuple[str, ...], Column(WORDS, sparse=True)] = ()

    def __bool__(self) -> bool:
        """Is it worth a word in the usage log?"""
        return bool(self.provider or self.service_tier or self.residency or self.stand_in or self.unpriced)

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


def _above_cost(value: Any, name: str, row: Row) -> int:
    return int(USD.read(value, name, row) - USD.read(row["cost_usd"], "cost_usd", row))


LIST_COST = Kind(_above_cost, write_of=lambda r: nano_to_usd(r.cost_nanousd + r.off_list_nanousd))
"""By how much it is above the cost; in the line itself."""
EFFECTIVE_COST = Kind(
    lambda value, name, row: -_above_cost(value, name, row),
    write_of=lambda r: nano_to_usd(r.cost_nanousd - r.markup_nanousd),
)
"""By how much it is below the cost; in the line itself."""


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """The fields of docs/reference/usage-log.md, in the order of the line; amounts in nano-USD, `at_ms` the time of the
    reservation."""

    exchange_id: Annotated[str, Column(TEXT)]
    request_id: Annotated[str, Column(TEXT, missing="")]
    at_ms: Annotated[int, Column(TIME, "time")]
    team: Annotated[str, Column(WORD)]
    app: Annotated[str, Column(WORD)]
    user: Annotated[str, Column(TEXT, missing="")]
    run: Annotated[str, Column(TEXT, missing="")]
    dialect: Annotated[str, Column(WORD, missing="")]
    model_requested: Annotated[str, Column(WORD, missing="")]
    model: Annotated[str, Column(WORD)]
    upstream: Annotated[str, Column(WORD, missing="")]
    tokens: Annotated[Usage, Column(COUNTS)]
    cost_nanousd: Annotated[int, Column(USD, "cost_usd")]
    estimate_nanousd: Annotated[int, Column(USD, "estimate_usd", missing=0)]
    price_version: Annotated[str, Column(WORD, missing="")]
    decision: Annotated[str, Column(WORD)]
    reason: Annotated[str, Column(WORD)]
    outcome: Annotated[Outcome, Column(one_of(Outcome))]
    unmetered: Annotated[str, Column(TEXT, sparse=True)] = ""
    saved_nanousd: Annotated[int, Column(SIGNED_USD, "saved_usd", sparse=True)] = 0
    """What the model asked for would have cost more (below zero: less), at the same usage."""
    priced_by: Annotated[PricedBy, Column(object_of(Columns(PricedBy)), sparse=True)] = PricedBy()
    parts: Annotated[tuple[UsagePart, ...], Column(objects_of(Columns(UsagePart)), sparse=True)] = ()
    """Where several models were billed: one entry each; their costs add up to `cost_nanousd`."""
    model_answered: Annotated[str, Column(WORD, sparse=True)] = ""
    """The model that the provider says it answered with; `` where it says none."""
    attempts: Annotated[int, Column(COUNT, sparse=True)] = 0
    """How often Envoy sent it to the provider; 0 where Envoy does not tell."""
    charged_by: Annotated[ChargedBy, Column(one_of(ChargedBy))] = ChargedBy.NOTHING
    flags: Annotated[tuple[str, ...], Column(WORDS)] = ()
    """What was odd about it."""
    off_list_nanousd: Annotated[int, Column(LIST_COST, "list_cost_usd", sparse=True)] = 0
    """By how much the cost is below list prices (below zero: above)."""
    markup_nanousd: Annotated[int, Column(EFFECTIVE_COST, "effective_cost_usd", sparse=True)] = 0
    """The part of the cost that the provider does not bill."""
    end_user: Annotated[str, Column(TEXT, sparse=True)] = ""
    """Whom the request itself names; nobody vouches for it."""
    tags: Annotated[tuple[tuple[str, str], ...], Column(NAMED_TEXTS, sparse=True)] = ()
    """(name, value) of what the setting `tags` names and the request had."""

    def line(self) -> bytes:
        """Write the line of the usage log, without its newline."""
        return orjson.dumps(LINE.write(self))


LINE = Columns(UsageRecord)
"""A line of the usage log."""


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
