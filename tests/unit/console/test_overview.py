"""The overview's sums, tables and picture."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from spendgate.console.overview import OTHERS, SHOWN, mix, models_csv, month_before, overview, teams_csv
from spendgate.console.trend import nice, trend
from spendgate.ledger.port import DayCell
from spendgate.pricing.load import table

PRICES = table()
USD = 10**9


def cell(team: str, day: str, usd: int, model: str = "gpt-4o") -> DayCell:
    return DayCell(team, day, "chat", model, 1, usd * USD, {}, saved_nanousd=usd)


CELLS = [cell("red", "20261101", 3), cell("=blue", "20261110", 4, "azure/gpt-5.6-sol")]
BEFORE = [cell("red", "20261001", 5), cell("red", "20261025", 7)]


def test_a_running_month_is_compared_with_the_same_days_and_a_past_one_with_all() -> None:
    running = overview("202611", CELLS, BEFORE, PRICES, 10)
    assert (running.spent_nanousd, running.before_nanousd, len(running.days)) == (7 * USD, 5 * USD, 10)
    assert running.change is not None and round(running.change, 3) == 0.4
    past = overview("202611", CELLS, BEFORE, PRICES, 30)
    assert past.before_nanousd == 12 * USD
    assert past.saved_nanousd == 7
    assert overview("202611", CELLS, [], PRICES, 30).change is None


def test_days_that_the_month_before_did_not_have_are_empty() -> None:
    march = overview("202603", [], [cell("red", "20260228", 1)], PRICES, 31)
    assert [d.before_nanousd for d in march.days[27:]] == [USD, None, None, None]
    assert month_before("202601") == "202512"


def test_who_moved_most_comes_first_and_who_is_new_or_gone_is_there() -> None:
    made = overview("202611", CELLS, BEFORE, PRICES, 30)
    assert [(m.team, m.change_nanousd // USD) for m in made.movers] == [("red", -9), ("=blue", 4)]
    assert teams_csv(made).splitlines()[1:] == ["'=blue,4.00,0.00,4.00", "red,3.00,12.00,-9.00"]
    assert dict(made.providers) == {"OpenAI": 3 * USD, "Microsoft": 4 * USD}
    assert models_csv(made).splitlines()[1] == "azure/gpt-5.6-sol,4.00"


@given(st.dictionaries(st.text("abc", min_size=1), st.integers(0, 10**15), max_size=30))
def test_a_mix_adds_up_whatever_is_left_out(amounts: dict[str, int]) -> None:
    shown = mix(amounts)
    assert sum(p.amount_nanousd for p in shown) == sum(amounts.values())
    assert len(shown) <= SHOWN + 1
    assert (OTHERS in {p.name for p in shown}) == (
        sum(sorted(amounts.values())[: max(0, len(amounts) - SHOWN)]) > 0
    )


@given(st.integers(0, 10**18))
def test_the_axis_holds_the_largest_amount_and_wastes_no_more_than_half(nano: int) -> None:
    top = nice(nano)
    assert top >= nano
    assert top <= max(4, 2 * nano) + 2


def test_the_picture_has_spent_days_days_to_come_last_month_and_budgets_each_in_its_form() -> None:
    running = overview("202611", CELLS, BEFORE, PRICES, 10)
    svg = ElementTree.fromstring(str(trend(running, 27 * USD, 60 * USD)))
    found = [e.get("class") for e in svg.iter()]
    assert (found.count("fill"), found.count("expected"), found.count("before"), found.count("pace")) == (
        10,
        20,
        1,
        1,
    )
    titles = [e.text for e in svg.iter("title")]
    assert "2026-11-01: $3.00" in titles and "2026-11-30: $1.00 expected" in titles
    assert "budgets $2.00 a day" in [e.text for e in svg.iter("text")]
