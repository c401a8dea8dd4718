from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.pricing.catalogue import builtin
from spendgate.pricing.cost import (
    charge,
    cost_nanousd,
    cost_pico,
    estimate_nanousd,
    output_picousd,
    plain_estimate,
)
from spendgate.pricing.load import table
from spendgate.pricing.table import Price, Tier
from spendgate.usage import INPUT_KINDS, KINDS, OUTPUT_KINDS, input_total, output_total

OPUS = Price("claude-opus", {"input": 15_000_000, "output": 75_000_000})
rates = st.dictionaries(st.sampled_from(KINDS), st.integers(0, 10**10)).map(
    lambda r: {"input": 3, "output": 7, **r}
)
tiers = st.lists(st.tuples(st.integers(0, 3000), rates), max_size=2, unique_by=lambda t: t[0]).map(
    lambda ts: tuple(Tier(a, r) for a, r in sorted(ts, key=lambda t: t[0]))
)
prices = st.builds(Price, model=st.just("m"), rates=rates, tiers=tiers)
tokens = st.dictionaries(st.sampled_from(INPUT_KINDS + OUTPUT_KINDS), st.integers(0, 5000))


def test_plain_tokens_cost_what_the_price_list_says() -> None:
    gpt4o = table().find("gpt-4o")
    assert gpt4o is not None
    # 734 x 2.50 + 3072 x 1.25 + 100 x 10.00 USD per million = 0.006675 USD
    assert cost_nanousd(gpt4o, {"input": 734, "cached_input": 3072, "output": 100}) == 6_675_000


@pytest.mark.parametrize(
    ("kind", "pico"),
    [
        ("cached_input", 15_000_000), ("cache_write_5m", 18_750_000), ("cache_write_1h", 30_000_000),
        ("tool_input", 15_000_000), ("input_audio", 15_000_000), ("input_of_the_future", 15_000_000),
        ("cache_of_the_future", 30_000_000), ("reasoning", 75_000_000), ("output_audio", 75_000_000),
        ("output_of_the_future", 75_000_000),
    ],
)  # fmt: skip
def test_a_kind_without_a_rate_takes_the_one_it_derives_from(kind: str, pico: int) -> None:
    assert cost_pico(OPUS, {kind: 1}) == (pico, frozenset())


def test_the_quarter_of_a_cache_write_is_exact() -> None:
    odd = Price("m", {"input": 1001, "output": 0})
    assert cost_pico(odd, {"cache_write_5m": 4}) == (5005, frozenset())


@pytest.mark.parametrize(("tokens_of_one_pico", "nano"), [(499, 0), (500, 0), (501, 1), (1500, 2), (2500, 2)])
def test_a_cost_is_rounded_half_to_even(tokens_of_one_pico: int, nano: int) -> None:
    assert cost_nanousd(Price("m", {"input": 1}), {"input": tokens_of_one_pico}) == nano


@given(prices, tokens)
def test_a_cost_is_rounded_once(price: Price, usage: dict[str, int]) -> None:
    exact = Decimal(cost_pico(price, usage)[0]) / 1000
    nano = Decimal(cost_nanousd(price, usage))
    assert abs(nano - exact) <= Decimal("0.5005")
    if set(usage) <= set(price.rates):
        assert nano == exact.to_integral_value(rounding=ROUND_HALF_EVEN)


@given(rates, tokens, tokens)
def test_costs_add_up(r: dict[str, int], a: dict[str, int], b: dict[str, int]) -> None:
    price = Price("m", {k: v * 4 for k, v in r.items()})
    both = {k: a.get(k, 0) + b.get(k, 0) for k in {*a, *b}}
    assert cost_pico(price, both)[0] == cost_pico(price, a)[0] + cost_pico(price, b)[0]


@given(prices, tokens, st.sampled_from(INPUT_KINDS + OUTPUT_KINDS))
def test_no_token_is_free_of_a_price(price: Price, usage: dict[str, int], kind: str) -> None:
    assert not charge(price, usage)[1]
    assert not charge(price, {kind: 1})[1]


def test_what_has_no_price_is_named() -> None:
    assert charge(OPUS, {"searches": 2, "seconds": 1, "requests": 1, "images": 0})[1] == {
        "searches",
        "seconds",
    }
    assert charge(Price("embed", {"input": 2}), {"input": 3, "output": 1})[1] == {"output"}


def test_fees_are_priced_each() -> None:
    sonnet = table().find("claude-sonnet-4-5")
    assert sonnet is not None
    assert cost_nanousd(sonnet, {"searches": 3}) == 30_000_000


def test_above_a_tier_all_tokens_take_its_rates() -> None:
    price = Price(
        "m", {"input": 1000, "output": 2000}, (Tier(100, {"input": 3000}), Tier(200, {"output": 9000}))
    )
    assert cost_nanousd(price, {"input": 100, "output": 1}) == 102
    assert cost_nanousd(price, {"input": 60, "cached_input": 41, "output": 1}) == 303 + 2
    assert cost_nanousd(price, {"input": 201, "output": 1}) == 603 + 9


WRITES = st.frozensets(st.sampled_from(["cache_write_5m", "cache_write_1h"]))


@given(prices, tokens, st.integers(0, 50), st.integers(0, 50), st.integers(0, 9), WRITES)
def test_an_estimate_covers_every_usage_within_it(
    price: Price, usage: dict[str, int], more_in: int, more_out: int, searches: int, writes: frozenset[str]
) -> None:
    usage = {k: n for k, n in usage.items() if k in writes or not k.startswith("cache_write")}
    also = frozenset(
        k.removeprefix("cached_") for k in usage if not k.startswith("cache_") and k != "cached_input"
    )
    estimate = estimate_nanousd(
        price,
        input_total(usage) + more_in,
        output_total(usage) + more_out,
        {"searches": searches},
        cache_writes=writes,
        also=also,
    )
    assert estimate >= cost_nanousd(price, {**usage, "searches": searches})


def test_a_model_that_writes_its_cache_unasked_is_estimated_with_it() -> None:
    sol = table().find("gpt-5.6-sol")
    assert sol is not None
    assert estimate_nanousd(sol, 1000, 0) == 5_000_000
    assert estimate_nanousd(sol, 1000, 0) >= cost_nanousd(sol, {"cache_write_5m": 1000})


def test_an_estimate_counts_cache_writes_only_where_asked_for() -> None:
    assert estimate_nanousd(OPUS, 1000, 0) == 15_000_000
    assert estimate_nanousd(OPUS, 1000, 0, cache_writes=frozenset({"cache_write_5m"})) == 18_750_000
    assert estimate_nanousd(OPUS, 1000, 0, cache_writes=frozenset({"cache_write_1h"})) == 30_000_000


def test_an_estimate_rounds_up() -> None:
    assert estimate_nanousd(Price("m", {"input": 1, "output": 1}), 1, 0) == 1


@given(prices, st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 500))
def test_an_output_token_never_raises_the_estimate_by_more_than_its_price(
    price: Price, i: int, o: int, more: int
) -> None:
    rise = estimate_nanousd(price, i, o + more) - estimate_nanousd(price, i, o)
    assert rise <= -(-more * output_picousd(price, i) // 1000) + 1


@given(prices, st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 500), st.integers(0, 500))
def test_more_tokens_never_lower_an_estimate(price: Price, i: int, o: int, more_i: int, more_o: int) -> None:
    assert estimate_nanousd(price, i + more_i, o + more_o) >= estimate_nanousd(price, i, o)


def test_what_is_billed_at_least_is_charged_and_held() -> None:
    price = builtin().entry("groq", "whisper-large-v3").at(None)
    rate = price.rates["seconds"]
    for seconds, billed in ((1, 10), (9, 10), (10, 10), (11, 11)):
        cost = -(-billed * rate // 3_600_000)
        assert cost_nanousd(price, {"seconds": seconds, "requests": 1}) in (cost, cost - 1)
        assert estimate_nanousd(price, 0, 0, {"seconds": seconds}) == cost
    assert cost_nanousd(price, {"requests": 1}) == 0


KINDS_BESIDE = st.frozensets(st.sampled_from(["input_audio", "input_image", "output_audio", "output_image"]))
MULTIPLIERS = st.sampled_from([(1, 1), (110, 100), (9, 10)])
MINIMUM = st.sampled_from([{}, {"requests": 3}])
SIZES = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 5000), WRITES, KINDS_BESIDE), max_size=5)


@given(prices, MULTIPLIERS, MINIMUM, st.none() | st.integers(0, 10**9), SIZES)
def test_a_plain_estimate_is_the_estimate_of_one_request_and_its_output_token(
    price: Price,
    multiplier: tuple[int, int],
    minimum: dict[str, int],
    request: int | None,
    sizes: list[tuple[int, int, frozenset[str], frozenset[str]]],
) -> None:
    made = {**price.rates} if request is None else {**price.rates, "requests": request}
    price = replace(price, rates=made, multiplier=multiplier, minimum=minimum)
    for given_tokens, made_tokens, writes, also in sizes:  # what one remembers is not taken for another
        whole = estimate_nanousd(
            price, given_tokens, made_tokens, {"requests": 1}, cache_writes=writes, also=also
        )
        found = plain_estimate(price, given_tokens, made_tokens, writes, also)
        assert found == (whole, output_picousd(price, given_tokens, also))
