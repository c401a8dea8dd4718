"""Every bill of tests/corpus/bills, through the real exchange: to the token and to the nano-dollar."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from support.bills import Bill, bills
from unit.exchange.driver import Drive, policy_of

from spendgate.exchange import events as e
from spendgate.exchange.snapshot import Snapshot, snapshot
from spendgate.money import NANO_PER_USD
from spendgate.pricing.load import table
from spendgate.pricing.table import PriceTable
from spendgate.records.record import UsageRecord
from spendgate.settings.config import Settings

BILLS = bills()
BUDGETS = "{team: ml, monthlyBudgetUSD: 100000}"


PRICE_LIST = yaml.safe_dump(
    {"models": {name: rates for bill in BILLS for name, rates in bill.prices.items()}}
)


@cache
def _prices() -> PriceTable:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "prices.yaml"
        path.write_text(PRICE_LIST, encoding="utf-8")
        return table([path])


@cache
def _snapshot(upstream: str) -> Snapshot:
    settings = {"upstreams": [{"name": "u", "url": "http://127.0.0.1:9", **json.loads(upstream)}]}
    return snapshot(policy_of(BUDGETS), _prices(), Settings.model_validate(settings))


def charged(bill: Bill) -> UsageRecord:
    """The line that an exchange of this bill writes."""
    d = Drive(_snapshot(json.dumps(bill.upstream)))
    action = d.send(bill.body, path=bill.path, headers={"x-llm-team": bill.team, **bill.headers})
    assert isinstance(action, e.Forward), action
    d.answer(bill.status, bill.content_type, headers=bill.answer_headers)
    for piece in bill.answer:
        d.piece(piece)
    d.piece(b"", end=True)
    return d.ending.record


@pytest.mark.parametrize("bill", BILLS, ids=str)
def test_a_bill_is_charged_to_the_token_and_to_the_nanodollar(bill: Bill) -> None:
    record = charged(bill)
    assert bill.usd is not None
    right = bill.usd * NANO_PER_USD
    told = {k: n for k, n in bill.tokens.items() if n}
    if told:
        assert {k: record.tokens.get(k, 0) for k in told} == told, record.tokens
    assert abs(record.cost_nanousd - right) <= right * bill.within + Decimal("0.5"), (record, right)
    if bill.charged_by:
        assert record.charged_by.value == bill.charged_by
    assert set(bill.flags) <= set(record.flags)
    if bill.hold_below is not None:
        assert record.estimate_nanousd <= bill.hold_below * NANO_PER_USD
