"""What a ticket carries comes into the usage record, and through Envoy and back."""

from __future__ import annotations

from dataclasses import MISSING, fields

from spendgate.exchange.billing import Bill
from spendgate.exchange.ticket import SettlementTicket
from spendgate.ledger.exchanges import GroupShare
from spendgate.records.outcome import ChargedBy, Outcome
from spendgate.records.record import PricedBy, UsagePart, UsageRecord

TICKET = SettlementTicket(
    exchange_id="x", request_id="r", at_ms=1, team="ml", app="chat", user="ann", run="night", dialect="openai-chat",
    model_requested="gpt-4o", model="gpt-4o-mini", upstream="eu", held_nanousd=9, price_version="v",
    decision="route", reason="simple_query", kept_because="kept", unpriced=True, fail_open=True, handed_over=True,
    scopes=(("day", "day"),), input_tokens=10, unseen_input=True, known_usage={"requests": 1}, path="/v1", host="h",
    service_tier="flex", batch=True, residency="eu", flags=("doubled_names",), fallbacks=("o3",), attempts=2,
    limits=(("o3", ("model",)),), kind="stream", aborted_flowed=True, held_tokens=11,
    groups=(GroupShare("all", (("month", "month"),)),), end_user="bob", tags=(("project", "beta"),),
)  # fmt: skip
BILL = Bill(
    {"input": 1}, 7, Outcome.ABORTED, "why", (UsagePart("o3", {"input": 1}, 7),), PricedBy("azure"), ("counted",),
    ChargedBy.COUNTED, "gpt-4o-mini-2024-07-18", -3, 4,
)  # fmt: skip


def test_every_field_of_a_ticket_comes_back_from_envoy() -> None:
    plain = {f.name: f.default for f in fields(SettlementTicket) if f.default is not MISSING}
    same = [name for name, default in plain.items() if getattr(TICKET, name) == default]
    assert not same, "the ticket above leaves these as they are by default"
    assert SettlementTicket.from_json(TICKET.to_json()) == TICKET


def test_every_field_of_the_usage_record_is_filled_from_the_ticket_or_the_bill() -> None:
    record = TICKET.ending(BILL, saved_nanousd=5).record
    assert [f.name for f in fields(UsageRecord) if not getattr(record, f.name)] == []
