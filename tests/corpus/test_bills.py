"""Every bill of tests/corpus/bills, through the real exchange: to the token and to the nano-dollar."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.bills import Bill, bills, judge, price_list
from unit.exchange.driver import Drive, policy_of

from spendgate.exchange import events as e
from spendgate.exchange.snapshot import Snapshot, snapshot
from spendgate.pricing.load import table
from spendgate.pricing.table import PriceTable
from spendgate.records.record import UsageRecord
from spendgate.settings.config import Settings

BILLS = bills()
BUDGETS = "{team: ml, monthlyBudgetUSD: 100000}"


@cache
def _prices() -> PriceTable:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "prices.yaml"
        path.write_text(price_list(BILLS), encoding="utf-8")
        return table([path])


@cache
def _snapshot(upstream: str) -> Snapshot:
    settings = {"upstreams": [{"name": "u", "url": "http://127.0.0.1:9", **json.loads(upstream)}]}
    return snapshot(policy_of(BUDGETS), _prices(), Settings.model_validate(settings))


def charged(bill: Bill, piece_bytes: int = 0) -> UsageRecord:
    """The record of an exchange of this bill, its answer cut into pieces of so many bytes (0: as it is written)."""
    d = Drive(_snapshot(json.dumps(bill.upstream)))
    action = d.send(bill.body, path=bill.path, headers={"x-llm-team": bill.team, **bill.headers})
    assert isinstance(action, e.Forward), action
    d.answer(bill.status, bill.content_type, headers=bill.answer_headers)
    whole = b"".join(bill.answer)
    cut = (
        [whole[at : at + piece_bytes] for at in range(0, len(whole), piece_bytes)]
        if piece_bytes
        else bill.answer
    )
    for piece in cut:
        d.piece(piece)
    d.piece(b"", end=True)
    return d.ending.record


@pytest.mark.parametrize("bill", BILLS, ids=str)
def test_a_bill_is_charged_to_the_token_and_to_the_nanodollar(bill: Bill) -> None:
    judge(bill, json.loads(charged(bill).line()))


@pytest.mark.parametrize("bill", [b for b in BILLS if b.streams], ids=str)
def test_a_streamed_bill_is_the_same_however_it_is_cut(bill: Bill) -> None:
    judge(bill, json.loads(charged(bill, 7).line()))
