"""Settling an answer that was not seen: by the facts of Envoy's access log. Pure.

Envoy's own filters json_to_metadata and sse_to_metadata, where they are in the chain, write the numbers of an
answer's usage beside the log entry; then the bill is true. Without them it is what was held, unless the entry
shows that the provider was paid nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

import orjson

from spendgate.dialects import registry
from spendgate.dialects.wire.traits import plain_paths
from spendgate.exchange import billing
from spendgate.exchange.billing import Bill, Tariff
from spendgate.exchange.events import EndedBy
from spendgate.exchange.law import Kind, bill_of, row_of
from spendgate.exchange.snapshot import Address, Snapshot
from spendgate.exchange.ticket import SettlementTicket
from spendgate.records.outcome import Outcome
from spendgate.records.record import ExchangeResult
from spendgate.values import dataclass

NAMESPACE = "spendgate.usage"
"""Where the filters write: flat keys, the dotted path in the answer."""
USAGE_PATHS: tuple[str, ...] = tuple(
    dict.fromkeys(
        path
        for dialect in registry.DIALECTS
        if dialect.logged
        for path in plain_paths(dialect.usage_fields, ("", *dialect.usage_events))
    )
)
"""What Envoy's filters read of an answer or of a stream's events; the last event that has a path counts."""


@dataclass(frozen=True, slots=True)
class LogFacts:
    """What an access log entry says. `status` 0: nothing was answered. `sent`: the provider got the request.
    `usage`: by dotted path. `by_envoy`: the answer is Envoy's own (a timeout, a reset), and not the provider's; or it
    did not come to its end."""

    status: int
    sent: bool
    usage: Mapping[str, object] = field(default_factory=dict)
    by_envoy: bool = False


def usage_document(flat: Mapping[str, object]) -> dict[str, Any]:
    """An answer made of its numbers: a stream's parts (`message`, `response`) laid into one."""
    document: dict[str, Any] = {}
    for path, value in flat.items():
        parts = path.split(".")
        if parts[0] in ("message", "response"):
            parts = parts[1:]
            if path in ("message.usage.output_tokens",):
                continue  # a stream's first word on it, not its last
        target = document
        for part in parts[:-1]:
            target = target.setdefault(part, {})
        number = int(value) if isinstance(value, float) and value.is_integer() else value
        if path.startswith("message.") and parts[-1] in target:
            continue  # what a later event said counts
        target[parts[-1]] = number
    return document


def settle_by_log(ticket: SettlementTicket, facts: LogFacts, snapshot: Snapshot) -> ExchangeResult:
    """The end of an exchange whose answer only Envoy saw, at the prices of now."""
    held = ticket.held_nanousd or 0
    tariff = _tariff(ticket, ticket.model, snapshot)
    if facts.status >= 300 and not facts.by_envoy:
        return ticket.ending(Bill({}, 0, Outcome.FAILED), release=True)
    if not 200 <= facts.status < 300 or not facts.sent:
        return _without_answer(ticket, facts, tariff, held)
    dialect = registry.by_name(ticket.dialect)
    # of a stream that was left, or broke off, a usage may tell of a part
    if dialect.logged and facts.usage and (dialect.usage_closes or not facts.by_envoy):
        reading = dialect.read_answer(orjson.dumps(usage_document(facts.usage)))
        if reading.problem is None:
            reading = billing.with_input(reading, ticket.input_tokens)
            bill = billing.whole_answer(tariff, ticket.model, reading, held)
            return ticket.ending(bill, saved_nanousd=_saved(ticket, bill, snapshot))
    if ticket.known_usage:
        return ticket.ending(billing.known(tariff, ticket.model, ticket.known_usage, held))
    return ticket.ending(billing.at_hold(held, "body_unseen"))


def _tariff(ticket: SettlementTicket, model: str, snapshot: Snapshot) -> Tariff:
    """What a model is priced by, on the terms that the request was sent on."""
    address = Address(ticket.dialect, ticket.path, ticket.host)
    terms = snapshot.terms(model, address, ticket.at_ms or None, ticket.service_tier, ticket.residency)
    hoped = bool(ticket.service_tier) and not ticket.batch
    return Tariff(snapshot.prices, terms, ticket.fallbacks, hoped)


def _saved(ticket: SettlementTicket, bill: Bill, snapshot: Snapshot) -> int:
    """What another model than asked saved."""
    if ticket.decision not in ("route", "downgrade"):
        return 0
    asked = ticket.model_requested
    return billing.saved_nanousd(_tariff(ticket, asked, snapshot), asked, bill)


def _without_answer(ticket: SettlementTicket, facts: LogFacts, tariff: Tariff, held: int) -> ExchangeResult:
    """The end of an exchange that Envoy gave up, or that its client left before the answer began: by the law."""
    by = EndedBy.CLIENT if facts.status == 0 else EndedBy.ENVOY
    kind = Kind(ticket.kind or Kind.WHOLE) if facts.sent else Kind.UNSENT
    row = row_of(by, kind, aborted_flowed=ticket.aborted_flowed)
    flowed = billing.input_only(tariff, ticket.model, ticket.input_tokens, held)
    return ticket.ending(bill_of(row, flowed, held), release=kind is Kind.UNSENT)
