"""True-ups bring every model to its invoice, to the nano-dollar, and only once."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st
from support.billing import PRICES, Use, cells, invoice, month

from spendgate.finops.invoice.line import Line
from spendgate.finops.reconciliation.reconcile import Reconciliation, reconcile
from spendgate.finops.reconciliation.true_up import (
    BACKFILL,
    EGRESS_APP,
    Threshold,
    TrueUp,
    corrections,
    true_ups,
)
from spendgate.ledger.accounts import Adjusted, Adjustment, DayCell

TWO = [*month(), Use(3, "gpt-4o", team="blue", app="batch"), Use(4, "gpt-4o-mini")]


def compared(
    metered: list[DayCell],
    factor: str = "1.2",
    extra: tuple[Use, ...] = (),
    audit: list[Adjusted] | None = None,
) -> Reconciliation:
    lines = [*invoice(TWO, factor), *invoice(extra)]
    return reconcile("openai", "202610", metered, lines, PRICES, corrections(audit or [], "openai", "202610"))


def made(planned: list[TrueUp]) -> list[Adjusted]:
    return [Adjusted(t.adjustment("ann", ("month",)), "20261101", 0, 0) for t in planned]


def test_each_app_gets_its_part_by_what_it_was_metered_for_and_egress_its_own_line() -> None:
    shadow = Use(9, "claude-sonnet-4-5", 5)
    found = compared(cells(TWO), extra=(shadow,))
    planned = true_ups(found, cells(TWO), [], "unattributed", "oct.json")
    assert {(t.team, t.app) for t in planned} == {
        ("red", "chat"), ("blue", "batch"), ("unattributed", EGRESS_APP)
    }  # fmt: skip
    assert sum(t.nano for t in planned) == found.drift_nanousd
    spent = {
        team: sum(c.cost_nanousd for c in cells(TWO) if (c.team, c.model) == (team, "gpt-4o"))
        for team in ("red", "blue")
    }
    got = {t.team: t.nano for t in planned if t.model == "gpt-4o"}
    assert abs(got["red"] * spent["blue"] - got["blue"] * spent["red"]) <= max(spent.values())
    assert planned[0].reason == "oct.json: true-up of openai for 2026-10"


def test_a_second_run_finds_nothing_to_do_and_a_revised_invoice_only_the_rest() -> None:
    metered = cells(TWO)
    first = true_ups(compared(metered), metered, [], "x", "a")
    audit = made(first)
    found = compared(metered, audit=audit)
    assert found.drift_nanousd == 0
    assert true_ups(found, metered, audit, "x", "a") == []
    revised = compared(metered, "1.1", audit=audit)
    second = true_ups(revised, metered, audit, "x", "b")
    assert sum(t.nano for t in second) == revised.drift_nanousd < 0
    back = [*audit, *made(second)]
    third = true_ups(compared(metered, audit=back), metered, back, "x", "c")
    ids = {t.adjustment_id for t in (*first, *second, *third)}
    assert len(ids) == len(first) + len(second) + len(third)
    assert compared(metered, audit=[*back, *made(third)]).drift_nanousd == 0


def test_two_runs_at_once_make_the_same_adjustments() -> None:
    metered = cells(TWO)
    assert true_ups(compared(metered), metered, [], "x", "a") == true_ups(
        compared(metered), metered, [], "x", "a"
    )


def test_what_a_backfill_corrected_is_not_trued_up_again() -> None:
    metered = cells(TWO)
    before = Adjustment(f"{BACKFILL}/202610/20261003/1", "red", 777, "x", "", "chat", "gpt-4o")
    audit = [Adjusted(before, "20261101", 0, 0)]
    found = compared(metered, audit=audit)
    planned = true_ups(found, metered, audit, "x", "a")
    assert (
        sum(t.nano for t in planned)
        == found.drift_nanousd
        == found.invoiced_nanousd - found.metered_nanousd - 777
    )


def test_what_is_below_the_threshold_or_rounding_or_not_understood_is_not_offered() -> None:
    metered = cells(TWO)
    limit = Threshold(10**7, Decimal("0.001"))
    assert true_ups(compared(metered, "1.0005"), metered, [], "x", "a", limit) == []
    assert true_ups(compared(metered, "1.0005"), metered, [], "x", "a") != []
    assert true_ups(compared(metered, "1.01"), metered, [], "x", "a", limit) != []
    cents = [replace(x, cost_usd=round(x.cost_usd, 2)) for x in invoice(TWO[:-1])]
    rounded = reconcile("openai", "202610", cells(TWO[:-1]), cents, PRICES)
    assert rounded.drift_nanousd
    assert true_ups(rounded, cells(TWO[:-1]), [], "x", "a", limit) == []
    odd = Line("20261003", "zorg", "", Decimal(9), charge="unknown")
    found = reconcile("openai", "202610", metered, [*invoice(TWO), odd], PRICES)
    assert true_ups(found, metered, [], "x", "a") == []


def test_fees_and_credits_are_entries_of_who_is_named_for_them() -> None:
    metered = cells(TWO)
    lines = [
        Line("20261003", "evals", "", Decimal(2), charge="fee"),
        Line("20261003", "grant", "", Decimal(-5), charge="credit"),
    ]
    found = reconcile("openai", "202610", metered, [*invoice(TWO), *lines], PRICES)
    planned = true_ups(found, metered, [], "finance", "a")
    assert [(t.team, t.app, t.model, t.nano, t.beside) for t in planned] == [
        ("finance", "credits", "grant", -5 * 10**9, True),
        ("finance", "tools and fees", "evals", 2 * 10**9, True),
    ]
    audit = made(planned)
    again = corrections(audit, "openai", "202610")
    after = reconcile("openai", "202610", metered, [*invoice(TWO), *lines], PRICES, again)
    assert (after.drift_nanousd, true_ups(after, metered, audit, "finance", "a")) == (0, [])


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["0.7", "0.999999", "1", "1.0000001", "3"]), st.lists(st.integers(1, 31), max_size=4))
def test_law_true_ups_add_up_to_the_open_drift(factor: str, days: list[int]) -> None:
    metered = cells(TWO)
    found = compared(metered, factor, tuple(Use(d, "claude-sonnet-4-5") for d in days))
    planned = true_ups(found, metered, [], "x", "a")
    assert sum(t.nano for t in planned) == found.drift_nanousd
    assert all(t.nano for t in planned)
