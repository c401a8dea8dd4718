"""Numbers and bars as people read them."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from spendgate.console import charts, text

USD = 10**9
THRESHOLDS = ((50, "alert"), (80, "alert_and_downgrade"), (100, "reject"))


@pytest.mark.parametrize(
    ("nano", "shown"),
    [
        (None, "–"), (0, "$0.00"), (1, "$0.0000"), (1_929_200, "$0.0019"), (999_999_999, "$1.0000"),
        (USD, "$1.00"), (1_234_567_891_234, "$1,234.57"), (-5 * USD, "-$5.00"),
    ],
)  # fmt: skip
def test_money_has_two_decimals_and_small_spend_four(nano: int | None, shown: str) -> None:
    assert text.usd(nano) == shown


@pytest.mark.parametrize(
    ("nano", "shown"),
    [
        (None, "–"), (0, "$0.00"), (1, "<$0.01"), (-1, "-<$0.01"), (5_000_000, "$0.01"), (504_200_000, "$0.50"),
        (1_234_567_891_234, "$1,234.57"), (-5 * USD, "-$5.00"),
    ],
)  # fmt: skip
def test_amounts_of_the_overview_have_two_decimals(nano: int | None, shown: str) -> None:
    assert text.money(nano) == shown


def test_months_and_times_are_utc() -> None:
    assert text.month_name("202611") == "November 2026"
    assert text.moment(1_795_000_000_000) == "2026-11-18 11:06:40 UTC"
    assert (text.day(None), text.percent(None), text.percent(0.8512)) == ("–", "–", "85.1 %")


def test_reasons_are_words_and_one_of_tomorrow_stands_as_it_is() -> None:
    assert text.reason("daily_budget_exceeded") == "it does not fit dailyBudgetUSD"
    assert text.reason("one_of_tomorrow") == "one_of_tomorrow"


@pytest.mark.parametrize(
    ("ratio", "level"),
    [
        (0.0, "calm"),
        (0.499, "calm"),
        (0.5, "alert"),
        (0.8, "alert_and_downgrade"),
        (1.0, "reject"),
        (7.0, "reject"),
    ],
)
def test_the_bar_shows_which_threshold_is_reached_and_never_leaves_its_frame(
    ratio: float, level: str
) -> None:
    svg = ElementTree.fromstring(charts.gauge(ratio, THRESHOLDS))
    assert level in svg.attrib["class"].split()
    assert 0 <= float(svg.findall("rect")[1].attrib["width"]) <= charts.WIDTH
    assert len(svg.findall("line")) == 3


def test_a_team_without_a_budget_has_no_bar_and_an_empty_month_no_chart() -> None:
    assert charts.gauge(None, ()) == ""
    assert charts.days_chart([("20261101", 0)]) == ""


def test_charts_are_well_formed_whatever_is_in_them() -> None:
    days = [(f"202611{n:02d}", n * USD - 3) for n in range(1, 31)]
    assert len(ElementTree.fromstring(charts.days_chart(days)).findall("g")) == 30
    shares = charts.parts([("<b>", 1), ('"', 3), ("a", 0), ("minus", -5)])
    assert [p.share for p in shares] == [1000, 333, 0, 0]
    for p in shares:
        ElementTree.fromstring(charts.bar(p.share))
