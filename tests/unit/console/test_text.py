"""Numbers and bars as people read them."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from spendgate.console import charts, text

USD = 10**9
THRESHOLDS = ((50, "alert"), (80, "alert_and_downgrade"), (100, "reject"))


@pytest.mark.parametrize(
    ("nano", "shown"),
    [(None, "–"), (0, "$0.00"), (USD, "$1.00"), (5_000_000, "$0.005"), (1_234_567_891_234, "$1,234.57")],
)
def test_a_limit_of_less_than_a_dollar_is_as_exact_as_it_was_written(nano: int | None, shown: str) -> None:
    assert text.limit(nano) == shown


def test_changes_counts_and_kinds_are_as_people_write_them() -> None:
    assert [text.signed(n) for n in (None, 0, 5 * USD, -5 * USD)] == ["–", "$0.00", "+$5.00", "-$5.00"]
    assert [text.change(r) for r in (None, 0.0, 0.0852, -0.5)] == ["–", "0.0 %", "+8.5 %", "-50.0 %"]
    assert (text.count(1234567), text.plural(1, "team"), text.plural(1200, "team")) == (
        "1,234,567",
        "1 team",
        "1,200 teams",
    )
    assert (text.kind("cache_write_5m"), text.kind("of_tomorrow")) == (
        "cache write, 5 minutes",
        "of tomorrow",
    )
    assert text.cents("1234.56789") == "1,234.57"


@pytest.mark.parametrize(
    ("nano", "shown"),
    [
        (None, "–"), (0, "$0.00"), (1, "<$0.01"), (-1, "-<$0.01"), (5_000_000, "$0.01"), (504_200_000, "$0.50"),
        (1_234_567_891_234, "$1,234.57"), (-5 * USD, "-$5.00"),
    ],
)  # fmt: skip
def test_amounts_have_two_decimals(nano: int | None, shown: str) -> None:
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


def test_a_team_without_a_budget_has_no_bar() -> None:
    assert charts.gauge(None, ()) == ""


def test_bars_are_well_formed_whatever_is_in_them() -> None:
    shares = charts.parts([("<b>", 1), ('"', 3), ("a", 0), ("minus", -5)])
    assert [p.share for p in shares] == [1000, 333, 0, 0]
    for p in shares:
        ElementTree.fromstring(charts.bar(p.share))
