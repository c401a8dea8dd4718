"""The charts: what is drawn, in which form, and that each is well-formed."""

from __future__ import annotations

from datetime import date
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.console import charts
from spendgate.console.axes import nice
from spendgate.console.burnup import burnup
from spendgate.console.figures import Day
from spendgate.console.period import Period, days_of, month_of, parse_period
from spendgate.console.trend import trend

USD = 10**9
TODAY = date(2026, 11, 10)
MONTH = month_of(TODAY, TODAY)


def svgs(markup: object) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(f"<div>{markup}</div>"))


def days(period: Period, spent: int = 3 * USD, before: int | None = 2 * USD) -> tuple[Day, ...]:
    return tuple(Day(d, spent, before) for d in period.days)


@given(st.integers(0, 10**18))
def test_the_axis_holds_the_largest_amount_and_wastes_no_more_than_half(nano: int) -> None:
    top = nice(nano)
    assert top >= nano
    assert top <= max(4, 2 * nano) + 2


def test_columns_show_spent_what_is_expected_the_time_before_and_the_budgets_each_in_its_form() -> None:
    for svg in svgs(trend(MONTH, days(MONTH), [USD] * 21, 2 * USD)):
        found = [e.get("class") for e in svg.iter()]
        assert (found.count("fill"), found.count("expected"), found.count("before"), found.count("pace")) == (
            10,
            21,
            10,
            1,
        )
        titles = [e.text for e in svg.iter("title")]
        assert (
            "2026-11-01: $3.00" in titles
            and "2026-11-30: $1.00 expected" in titles
            and "the time before: $2.00" in titles
        )
        texts = [e.text for e in svg.iter("text")]
        assert "budgets $2.00 a day" in texts and "$0" in texts and "10" not in texts[:5]
        assert svg.get("aria-label") == "Spend by day, at most $3.00"


@pytest.mark.parametrize(("length", "columns", "unit"), [(62, 62, "day"), (63, 9, "week"), (216, 8, "month")])
def test_long_ranges_are_drawn_by_week_and_by_month(length: int, columns: int, unit: str) -> None:
    last = date(2026, 11, 8)
    period = days_of(date.fromordinal(last.toordinal() - length + 1), last, TODAY)
    svg = svgs(trend(period, days(period)))[0]
    assert len([e for e in svg.iter("rect") if e.get("class") == "fill"]) == columns
    assert str(svg.get("aria-label")).startswith(f"Spend by {unit}")
    assert sum(3 for _ in period.days) == length * 3


@given(
    st.lists(st.integers(-(10**12), 10**15), min_size=1, max_size=31), st.integers(0, 10**15), st.booleans()
)
def test_whatever_the_amounts_nothing_is_drawn_outside_of_the_frame(
    amounts: list[int], budget: int, running: bool
) -> None:
    period = month_of(date(2026, 10, 1), date(2026, 10, len(amounts)))
    shown = tuple(Day(d, n, n) for d, n in zip(period.days, amounts, strict=False))
    expected = [10**9] * (31 - len(shown) + 1) if running else []
    for markup in (trend(period, shown, expected, budget // 31), burnup(period, shown, expected, budget)):
        for svg in svgs(markup):
            width, height = (float(n) for n in str(svg.get("viewBox")).split()[2:])
            for e in svg.iter():
                for name, most in (
                    ("x", width),
                    ("y", height),
                    ("x1", width),
                    ("x2", width),
                    ("y1", height),
                    ("cy", height),
                ):
                    if name in e.attrib:
                        assert -1 <= float(e.attrib[name]) <= most + 1, (e.tag, e.attrib)
                for point in e.get("points", "").split():
                    x, y = map(float, point.split(","))
                    assert 0 <= x <= width + 1 and 0 <= y <= height


def test_the_rising_line_reaches_what_was_spent_and_the_forecast_what_is_expected() -> None:
    svg = svgs(burnup(MONTH, days(MONTH), [0, *[USD] * 20], 60 * USD))[0]
    lines = {e.get("class"): e for e in svg.iter("polyline")}
    assert len(str(lines["spent"].get("points")).split()) == 10
    assert len(str(lines["ahead"].get("points")).split()) == 21
    assert "earlier" in lines
    texts = [e.text for e in svg.iter("text")]
    assert {"budget $60.00", "forecast $50.00", "$30.00"} <= set(texts)
    assert svg.get("aria-label") == "Spend as it adds up: $30.00, of $60.00, $50.00 expected"


def test_a_day_that_the_time_before_did_not_have_has_no_mark() -> None:
    march = parse_period({"month": "2026-03"}, date(2026, 3, 31))
    shown = tuple(Day(d, USD, None if d > "20260328" else USD) for d in march.days)
    svg = svgs(trend(march, shown))[0]
    assert len([e for e in svg.iter("line") if e.get("class") == "before"]) == 28


def test_a_team_without_spend_has_no_spark_and_one_with_spend_a_point_a_day() -> None:
    assert charts.spark([0, 0]) == "" and charts.spark([5]) == ""
    svg = ElementTree.fromstring(charts.spark([1, 0, -4, 9]))
    assert len(str(svg[0].get("points")).split()) == 4
