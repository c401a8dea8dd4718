from typing import Any

import pytest

from spendgate.pricing.load import table
from spendgate.pricing.table import Price, PriceTable, Tier, family_of, rank_picousd


def price(model: str, i: int, o: int, **more: Any) -> Price:
    return Price(model=model, rates={"input": i, "output": o}, **more)


TABLE = PriceTable(
    {p.model: p for p in (price("claude-opus", 15, 75), price("claude-haiku", 1, 5), price("gpt-4o", 2, 10))},
    {"gpt-*": price("gpt-*", 7, 7), "gpt-4*-x": price("gpt-4*-x", 8, 8), "my-*": price("my-*", 1, 1)},
    {"opus": "claude-opus"},
)


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("openai/gpt-4o", "gpt-4o"),
        ("openai/gpt-4o-2024-08-06", "gpt-4o"),
        ("claude-opus-20250514", "claude-opus"),
        ("claude-opus@20250514", "claude-opus"),
        ("claude-opus-latest", "claude-opus"),
        ("anthropic/claude-opus-latest", "claude-opus"),
        ("opus", "claude-opus"),
        ("opus-20250514", "claude-opus"),
        ("my-llama", "my-*"),
    ],
)
def test_a_known_form_of_a_name_finds_its_price(name: str, entry: str) -> None:
    found = TABLE.find(name)
    assert found is not None
    assert found.model == entry


@pytest.mark.parametrize(
    "name",
    ["claude-opus-evil", "claude-opus-2025", "claude-opus-20259999", "Claude-Opus", "xclaude-opus", "",
     "mine", "azure/claude-opus", "claude-opus-20250514-x"],
)  # fmt: skip
def test_a_name_that_only_looks_alike_finds_nothing(name: str) -> None:
    assert TABLE.find(name) is None


def test_a_dated_model_with_a_price_of_its_own_keeps_it() -> None:
    found = table().find("gpt-4o-2024-05-13")
    assert found is not None
    assert found.rates["input"] == 5_000_000


def test_the_most_specific_glob_wins_and_an_entry_beats_every_glob() -> None:
    assert TABLE.find("gpt-4o-x").model == "gpt-4*-x"  # type: ignore[union-attr]
    assert TABLE.find("gpt-3").model == "gpt-*"  # type: ignore[union-attr]
    assert TABLE.find("gpt-4o").model == "gpt-4o"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "dearest"),
    [
        ("claude-opus-9", "claude-opus"),
        ("claude-haiku-9", "claude-haiku"),
        ("claude-new", "claude-opus"),
        ("anthropic/claude-haiku-x", "claude-haiku"),
        ("gpt-99", "gpt-4*-x"),
        ("unheard-of", "claude-opus"),
        ("", "claude-opus"),
        ("claudette", "claude-opus"),
    ],
)
def test_an_unpriced_model_takes_the_dearest_of_the_longest_family(name: str, dearest: str) -> None:
    assert TABLE.dearest_of_family(name).model == dearest


def test_a_family_ends_where_a_word_ends() -> None:
    of = PriceTable({"o3": price("o3", 2, 8), "dear": price("dear", 100, 100)})
    assert of.dearest_of_family("o9").model == "o3"
    assert of.dearest_of_family("orca").model == "dear"


def test_the_dearest_counts_the_dearest_tier() -> None:
    tiered = price("a-1", 1, 1, tiers=(Tier(100, {"input": 50, "output": 50}),))
    of = PriceTable({"a-1": tiered, "a-2": price("a-2", 2, 2)})
    assert of.dearest_of_family("a-3").model == "a-1"


def test_an_empty_table_has_no_dearest() -> None:
    with pytest.raises(LookupError):
        PriceTable({}).dearest_of_family("x")


def test_the_version_follows_the_content_and_nothing_else() -> None:
    a = PriceTable({"x": price("x", 1, 2), "y": price("y", 3, 4)})
    b = PriceTable({"y": price("y", 3, 4), "x": price("x", 1, 2)})
    assert a.version == b.version
    assert len(a.version) == 64
    changed = [
        PriceTable({"x": price("x", 1, 2), "y": price("y", 3, 5)}),
        PriceTable({"x": price("x", 1, 2)}),
        PriceTable({"x": price("x", 1, 2)}, {"y": price("y", 3, 4)}),
        PriceTable({"x": price("x", 1, 2), "y": price("y", 3, 4, tiers=(Tier(5, {"input": 1}),))}),
        PriceTable({"x": price("x", 1, 2), "y": price("y", 3, 4, max_output_tokens=9)}),
        PriceTable(a.prices, {}, {"z": "x"}),
    ]
    assert len({a.version, *(t.version for t in changed)}) == 1 + len(changed)


def test_a_family_is_the_first_word_of_a_name() -> None:
    assert [family_of(m) for m in ("gpt-4o", "o3-mini", "openai/gpt-5", "llama-3-8b", "")] == [
        "gpt", "o", "gpt", "llama", "",
    ]  # fmt: skip


def test_the_rank_is_one_token_in_and_one_out() -> None:
    dear = TABLE.prices["gpt-4o"]
    assert isinstance(dear, Price)
    assert rank_picousd(dear) == 12
