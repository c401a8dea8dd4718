"""Markups are charged to teams and billed by nobody: whoever compares with a provider leaves them out, and whoever
charges keeps them."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.billing import Use, cells, invoice, month
from support.usage_lines import record, write_log

from spendgate.budget.policy import Policy
from spendgate.finops.backfill import from_usage, plan
from spendgate.finops.chargeback.allocation import Rule, split_shared
from spendgate.finops.chargeback.chargeback import Chargeback, Line
from spendgate.finops.chargeback.export_usage import write_days
from spendgate.finops.log_cells import cells_of
from spendgate.finops.reconciliation.log_evidence import day_shifts, with_estimates_apart
from spendgate.finops.reconciliation.reconcile import Reconciliation, reconcile
from spendgate.finops.reconciliation.true_up import as_billed, corrections, true_ups
from spendgate.finops.replay import settlements
from spendgate.ledger.accounts import Adjusted, DayCell
from spendgate.pricing.load import table
from spendgate.pricing.table import PriceTable

USED = month(days=5)
OCTOBER = ("20261001", "20261031")


@pytest.fixture(scope="module")
def dearer(tmp_path_factory: pytest.TempPathFactory) -> PriceTable:
    """The catalogue with 15 % on all of it."""
    path = tmp_path_factory.mktemp("prices") / "prices.yaml"
    path.write_text("discounts: [{percent: -15}]\n")
    return table((path,))


def charged(uses: list[Use]) -> list[DayCell]:
    """What was metered, with 15 % on it."""
    out = []
    for cell in cells(uses):
        markup = cell.cost_nanousd * 15 // 100
        out.append(replace(cell, cost_nanousd=cell.cost_nanousd + markup, markup_nanousd=markup))
    return out


def compared(prices: PriceTable, factor: str, audit: list[Adjusted]) -> Reconciliation:
    fixed = corrections(audit, "openai", "202610")
    lines = invoice(USED, factor)
    return reconcile("openai", "202610", charged(USED), lines, prices.without_markups(), fixed)


def test_usage_that_was_charged_with_a_markup_is_not_charged_with_it_again(dearer: PriceTable) -> None:
    lines = [x for use in USED for x in use.lines(money=False)]
    assert from_usage(lines, charged(USED), dearer, OCTOBER, "nobody").targets() == {}


def test_a_backfill_with_a_markup_closes_what_the_provider_bills_and_is_not_taken_back(
    dearer: PriceTable,
) -> None:
    doubled = [replace(u, tokens={k: 2 * n for k, n in u.tokens.items()}) for u in USED]
    lines = [x for use in doubled for x in use.lines(money=False)]
    wanted = from_usage(lines, charged(USED), dearer, OCTOBER, "nobody").targets()
    made = [
        Adjusted(t.adjustment("ann", ("month",), "20261005"), "20261005", 0, 0) for t in plan(wanted, [], "x")
    ]
    markup = sum(c.markup_nanousd for c in charged(USED))
    assert abs(sum(a.adjustment.cost_nanousd for a in made) - markup * 115 // 15) <= len(made)
    audit = as_billed(made, dearer)
    found = compared(dearer, "2", audit)
    assert abs(found.drift_nanousd) <= len(made)
    assert abs(sum(t.nano for t in true_ups(found, charged(USED), audit, "x", "a"))) <= len(made)


def test_only_backfills_are_told_at_what_is_billed(dearer: PriceTable) -> None:
    planned = true_ups(compared(dearer, "1.2", []), charged(USED), [], "x", "a")
    made = [Adjusted(t.adjustment("ann", ("month",)), "20261101", 0, 0) for t in planned]
    assert made and as_billed(made, dearer) == made
    assert as_billed(made, table()) == made


def test_a_rebuilt_ledger_knows_list_and_effective_cost_and_savings(tmp_path: Path) -> None:
    log = write_log(
        tmp_path / "usage.jsonl", [record(1, off_list_nanousd=-50, markup_nanousd=70, saved_nanousd=5)]
    )
    (made,) = settlements((log,), Policy(), 0)
    assert (made.off_list_nanousd, made.markup_nanousd, made.saved_nanousd) == (-50, 70, 5)


def test_days_that_begin_elsewhere_are_told_at_what_is_billed(tmp_path: Path) -> None:
    log = write_log(tmp_path / "usage.jsonl", [record(n, markup_nanousd=500_000) for n in range(3)])
    shifted = day_shifts((log,), "202611", lambda _: True)
    assert {sum(c.billed_nanousd for c in found) for found in shifted.values()} == {3 * 3_000_000}


def test_estimates_that_are_set_apart_take_their_markup_along(tmp_path: Path) -> None:
    log = [record(1, markup_nanousd=500_000), record(2, tokens={}, markup_nanousd=200_000)]
    whole = cells_of(log, "202611")
    apart = with_estimates_apart(whole, (write_log(tmp_path / "usage.jsonl", log),), "202611", lambda _: True)
    assert [c.billed_nanousd for c in apart] == [3_000_000, 3_300_000]
    assert sum(c.billed_nanousd for c in whole) == 6_300_000


@given(st.lists(st.tuples(*[st.integers(-(10**12), 10**12)] * 3), min_size=2, max_size=5))
def test_a_shared_team_passes_its_list_and_effective_cost_on_whole(
    amounts: list[tuple[int, int, int]],
) -> None:
    lines = [
        Line(f"t{i}", "app", "gpt-4o", 1, cost, (), off_list_nanousd=off, markup_nanousd=markup)
        for i, (cost, off, markup) in enumerate(amounts)
    ]
    report = Chargeback("202611", "ledger", tuple(lines))
    split = split_shared(report, [Rule("t0", "evenly")])
    for name in ("cost_nanousd", "list_nanousd", "effective_nanousd"):
        assert sum(getattr(x, name) for x in split.lines) == sum(getattr(x, name) for x in lines)
        if lines[0].cost_nanousd:
            assert sum(getattr(x, name) for x in split.teams["t0"]) == 0


def test_the_exported_usage_log_has_list_and_effective_cost(tmp_path: Path) -> None:
    made = write_days(
        [record(1), record(2, off_list_nanousd=-500_000, markup_nanousd=500_000)], "202611", tmp_path
    )
    ((path, _),) = made.values()
    rows = list(csv.DictReader(path.open()))
    assert [(r["cost_usd"], r["list_cost_usd"], r["effective_cost_usd"]) for r in rows] == [
        ("0.0035", "0.0035", "0.0035"),
        ("0.0035", "0.003", "0.003"),
    ]
