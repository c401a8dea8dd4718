"""The books of a usage log are the ledger's, and their differences are told."""

from __future__ import annotations

from dataclasses import replace

from support.usage_lines import T0, expired, record

from spendgate.finops.chargeback.chargeback import cell_costs, chargeback, exchange_costs, price_for
from spendgate.finops.chargeback.differences import SHOWN_MAX, differences
from spendgate.finops.log_cells import DAY_MS, cells_of, with_kinds
from spendgate.ledger.accounts import DayCell
from spendgate.pricing.cost import cost_nanousd
from spendgate.pricing.load import table
from spendgate.records.outcome import Outcome

PRICES = table()
TOKENS = {"input": 1000, "output": 100}


def test_records_add_up_by_day_app_and_model_and_other_months_are_left_out() -> None:
    records = [
        record(1),
        record(2, tokens={"input": 1}, cost_nanousd=7, saved_nanousd=5),
        record(3, at_ms=T0 + DAY_MS),
        record(4, at_ms=T0 + 10 * DAY_MS),
        record(5, team="blue", app="", run="r1"),
    ]
    assert cells_of(records, "202611") == [
        DayCell("blue", "20261124", "", "gpt-4o", 1, 3_500_000, TOKENS),
        DayCell(
            "red", "20261124", "chat", "gpt-4o", 2, 3_500_007, {"input": 1001, "output": 100}, saved_nanousd=5
        ),
        DayCell("red", "20261125", "chat", "gpt-4o", 1, 3_500_000, TOKENS),
    ]
    assert [c.run for c in cells_of(records, "202611", "blue", finest=True)] == ["r1"]


def test_only_what_the_ledger_counts_is_an_exchange() -> None:
    nothing = {"cost_nanousd": 0, "tokens": {}}
    records = [
        record(1, outcome=Outcome.REFUSED, **nothing),
        record(2, outcome=Outcome.FAILED, **nothing),
        record(3, outcome=Outcome.FAILED),
        record(4, outcome=Outcome.ABORTED, **nothing),
        record(5, **nothing),
        expired(6, 500),
        record(7, outcome=Outcome.UNMETERED, unmetered="truncated", tokens={}, cost_nanousd=9),
    ]
    (cell,) = cells_of(records, "202611")
    assert (cell.requests, cell.refused, cell.cost_nanousd) == (4, 1, 3_500_509)


def test_books_that_agree_differ_in_nothing_and_adjustments_are_the_ledgers_alone() -> None:
    cells = cells_of([record(1), record(2, app="web")], "202611")
    log = chargeback("202611", "log", cells, PRICES)
    adjusted = [replace(c, cost_nanousd=c.cost_nanousd + 5, adjusted_nanousd=5) for c in cells]
    assert differences(log, chargeback("202611", "ledger", cells, PRICES)) == []
    assert differences(log, chargeback("202611", "ledger", adjusted, PRICES)) == []


def test_the_ledgers_days_take_the_cost_of_kinds_that_the_log_knows_and_keep_their_own_where_it_does_not() -> (
    None
):
    deep = {"input": 300_000, "output": 1_000}  # beyond the tier of 200,000
    small = {"input": 2_000, "output": 8_000}
    made = []
    for n, tokens in enumerate((deep, small, small), 1):
        cost = cost_nanousd(price_for(PRICES, "gemini-2.5-pro"), tokens)
        made.append(record(n, model="gemini-2.5-pro", tokens=tokens, cost_nanousd=cost))
    logged = cells_of(made, "202611", kinds=lambda r: exchange_costs(r, PRICES))
    (day,) = cells_of(made, "202611")
    unlogged = replace(day, app="elsewhere")
    found, missing = with_kinds([day, unlogged], logged)
    assert missing == 1
    assert found[1].kind_costs == {}
    assert found[0].kind_costs == {
        "input": 2_500 * 300_000 + 1_250 * 4_000,
        "output": 15_000 * 1_000 + 10_000 * 16_000,
    }
    assert found[0].kind_costs != cell_costs(day, PRICES)  # the day alone does not tell
    assert sum(found[0].kind_costs.values()) == day.cost_nanousd


def test_a_difference_names_the_line_and_what_differs_the_dearest_first() -> None:
    log = chargeback("202611", "log", cells_of([record(1), record(2, app="web")], "202611"), PRICES)
    ledger = chargeback(
        "202611",
        "ledger",
        [
            DayCell(
                "red", "20261124", "chat", "gpt-4o", 2, 3_500_000, {"input": 1000, "output": 90}, refused=3
            ),
            DayCell("red", "20261124", "web", "gpt-4o", 1, 9_000_000, TOKENS),
        ],
        PRICES,
    )
    assert differences(log, ledger) == [
        "red / web / gpt-4o: log has cost_usd 0.0035 against 0.009 in the ledger",
        "red / chat / gpt-4o: log has requests 1 against 2, refused 0 against 3, output tokens 100 against 90 "
        "in the ledger",
    ]
    many = chargeback(
        "202611", "log", cells_of([record(i, app=f"a{i}") for i in range(25)], "202611"), PRICES
    )
    told = differences(many, chargeback("202611", "ledger", [], PRICES))
    assert (len(told), told[-1]) == (SHOWN_MAX + 1, "and 5 more")
