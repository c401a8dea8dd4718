"""Within its span a price is what it was, and at its ends something changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spendgate.pricing.price import ALWAYS, Entry, Hours, Period, Price
from spendgate.pricing.span import FOREVER, between, minute, price_span
from spendgate.pricing.table import PriceTable
from spendgate.pricing.terms import Discount, Terms

HOUR_MS = 3_600_000
TIMES = st.integers(0, 30 * HOUR_MS) | st.sampled_from(
    [n * HOUR_MS + by for n in (1, 2, 3) for by in (-1, 0, 1)]
)
RATES = st.fixed_dictionaries({"input": st.integers(1, 9), "output": st.integers(1, 9)})
PERIODS = st.sets(st.integers(1, 3), max_size=2).flatmap(
    lambda starts: st.tuples(
        st.builds(Period, st.sampled_from([ALWAYS, HOUR_MS // 2]), RATES),
        *(st.builds(Period, st.just(n * HOUR_MS), RATES) for n in sorted(starts)),
    )
)
HOURS = st.builds(Hours, st.just(60), st.just(120), RATES)
ENTRIES = st.builds(Entry, st.just(Price("m", {})), PERIODS, hours=st.lists(HOURS, max_size=1).map(tuple))
ENDS = st.none() | st.sampled_from([HOUR_MS, 2 * HOUR_MS, 3 * HOUR_MS])
DISCOUNTS = st.builds(
    Discount, st.sampled_from([1_000, 500, -500]), model=st.sampled_from(["", "m", "m*"]), since_ms=ENDS, until_ms=ENDS
)  # fmt: skip


@given(ENTRIES, st.lists(DISCOUNTS, max_size=3).map(tuple), TIMES, st.lists(TIMES, max_size=8))
def test_a_price_is_the_same_within_its_span(
    entry: Entry, discounts: tuple[Discount, ...], at_ms: int, others: list[int]
) -> None:
    prices = PriceTable({"m": entry}, discounts=discounts)
    found = prices.locate("m")
    assert found is not None
    since, until = price_span(found, at_ms)
    assert since <= at_ms < until
    price = prices.find("m", Terms(at_ms=at_ms))
    for other in (*others, since, until - 1):
        if since <= other < until and ALWAYS < other < FOREVER - 1:
            assert prices.find("m", Terms(at_ms=other)) == price


def test_what_never_changes_holds_always() -> None:
    found = PriceTable({"m": Price("m", {"input": 1})}).locate("m")
    assert found is not None and price_span(found, 5) == (ALWAYS, FOREVER)


def test_between_two_changes() -> None:
    assert between([1, 5, 9], 5) == (5, 9)
    assert between([9, 1], 0) == (ALWAYS, 1)
    assert between([], 0) == (ALWAYS, FOREVER)
    assert minute(59_999) == (0, 60_000) and minute(60_000) == (60_000, 120_000)
