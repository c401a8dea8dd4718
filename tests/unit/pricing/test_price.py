"""Prices over time, by service tier and residency: what an entry remembers is what it would make anew."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from spendgate.pricing.price import ALWAYS, Entry, Hours, Period, Price

HOUR_MS = 3_600_000
RATES = st.fixed_dictionaries({"input": st.integers(1, 9), "output": st.integers(1, 9)})
PERIODS = st.lists(st.integers(0, 3), unique=True, max_size=2).flatmap(
    lambda starts: st.tuples(
        *(st.builds(Period, st.just(n * HOUR_MS if n else ALWAYS), RATES) for n in sorted({0, *starts}))
    )
)
TIER_PERIODS = st.integers(0, 3).flatmap(
    lambda n: st.tuples(st.builds(Period, st.just(n * HOUR_MS if n else ALWAYS), RATES))
)
ENTRIES = st.builds(
    Entry,
    st.just(Price(model="m", rates={})),
    PERIODS,
    hours=st.lists(st.builds(Hours, st.just(60), st.just(120), RATES), max_size=1).map(tuple),
    service=st.dictionaries(st.sampled_from(["flex", "priority"]), TIER_PERIODS),
    residency=st.dictionaries(st.just("eu"), st.just(110)),
)
ASKED = st.tuples(
    st.none() | st.integers(0, 5 * HOUR_MS),
    st.sampled_from(["", "default", "flex", "priority", "unheard-of"]),
    st.sampled_from(["", "eu", "us"]),
)


@given(ENTRIES, st.lists(ASKED, min_size=1, max_size=12))
def test_what_an_entry_remembers_is_what_it_would_make_anew(
    entry: Entry, asked: list[tuple[int | None, str, str]]
) -> None:
    for at_ms, tier, residency in asked:
        anew = replace(entry, _made={})
        assert entry.at(at_ms, tier, residency) == anew.at(at_ms, tier, residency)


def test_an_entry_of_one_period_makes_its_price_once() -> None:
    entry = Entry.of(Price(model="m", rates={"input": 1}))
    assert entry.at(None) is entry.at(5, "default") is entry.at(7)
