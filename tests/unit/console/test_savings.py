"""What caching saved."""

from __future__ import annotations

from spendgate.console.savings import saved_by_caching
from spendgate.pricing.price import Price

RATES = {"input": 3_000_000, "cached_input": 300_000, "cache_write_5m": 3_750_000, "output": 15_000_000}
"""Pico-USD a token: $3.00, $0.30, $3.75 and $15.00 a million."""


def test_reading_from_a_cache_saves_and_writing_costs() -> None:
    price = Price("m", RATES)
    assert saved_by_caching({"input": 10**6, "output": 10**6}, price) == 0
    assert saved_by_caching({"cached_input": 10**6}, price) == 2_700_000_000
    assert saved_by_caching({"cached_input": 10**6, "cache_write_5m": 10**6}, price) == 1_950_000_000
    assert saved_by_caching({"cache_write_5m": 10**6}, price) == -750_000_000


def test_a_discount_holds_for_what_was_saved_and_a_kind_without_a_price_saved_nothing() -> None:
    assert saved_by_caching({"cached_input": 10**6}, Price("m", RATES, multiplier=(9, 10))) == 2_430_000_000
    assert saved_by_caching({"cached_input": 10**6}, Price("m", {"input": 5})) == 0
