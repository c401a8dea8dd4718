from pathlib import Path

import pytest

from spendgate.errors import ConfigurationError
from spendgate.pricing.load import load_overrides, table
from spendgate.pricing.parse import parse
from spendgate.pricing.price import FEES, Price
from spendgate.pricing.table import PriceTable
from spendgate.pricing.terms import Terms

# The published table that the product started from, USD per million tokens as pico-USD a token.
SOURCE = {
    "gpt-4o": (2_500_000, 10_000_000),
    "gpt-4o-mini": (150_000, 600_000),
    "claude-opus": (15_000_000, 75_000_000),
    "claude-sonnet": (3_000_000, 15_000_000),
    "claude-haiku": (250_000, 1_250_000),
    "llama-3-70b": (590_000, 790_000),
    "llama-3-8b": (50_000, 80_000),
}


def priced(of: PriceTable, model: str, terms: Terms = Terms()) -> Price:  # noqa: B008
    found = of.find(model, terms)
    assert found is not None, model
    return found


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as e:
        parse(text, "p.yaml")
    return [str(f) for f in e.value.faults]


@pytest.mark.parametrize("model", SOURCE)
def test_the_built_in_table_has_the_source_table(model: str) -> None:
    rates = priced(table(), model).rates
    assert (rates["input"], rates["output"]) == SOURCE[model]


def test_claude_is_served_by_two_vendors_dialects_and_gpt_by_its_own() -> None:
    def serving(model: str) -> set[str]:
        known = ("anthropic-messages", "openai-chat", "openai-responses", "openai-embeddings", "gemini")
        return {d for d in known if priced(table(), model).serves(d)}

    assert serving("claude-opus") == serving("claude-opus-5") == {"anthropic-messages", "openai-chat"}
    assert serving("gpt-4o") == {"openai-chat", "openai-responses"}
    assert serving("gpt-5-pro") == {"openai-responses"}
    assert serving("gpt-audio") == {"openai-chat"}
    assert serving("text-embedding-3-small") == {"openai-embeddings"}
    assert serving("llama-3-8b") == {"openai-chat"}
    assert serving("gemini-2.5-pro") == {"gemini", "openai-chat"}


def test_the_built_in_table_knows_longest_answers_and_cache_writes() -> None:
    assert priced(table(), "gpt-4o").max_output_tokens == 16384
    assert priced(table(), "claude-sonnet-4-5").rates["cache_write_1h"] == 6_000_000
    assert priced(table(), "gpt-5.4").tiers[0].above_input_tokens == 272_000


def test_an_override_replaces_the_rates_and_keeps_what_is_known_besides(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("models:\n  gpt-4o: {input: 2.00, output: 8.00}\n  my-*: {input: 0.2, output: 0.8}\n")
    merged = table([file])
    own = priced(merged, "gpt-4o")
    fees = {k: r for k, r in priced(table(), "gpt-4o").rates.items() if k in FEES}
    assert own.rates == {"input": 2_000_000, "output": 8_000_000, **fees}
    assert fees["searches"] == 10**10
    assert own.max_output_tokens == 16384
    assert own.dialects == {"openai-chat", "openai-responses"}
    assert priced(merged, "gpt-4o-2024-08-06") is own
    assert priced(merged, "my-llama").model == "my-*"
    assert merged.version != table().version
    assert priced(table(), "gpt-4o").rates["input"] == 2_500_000


def test_an_override_of_an_entry_reaches_its_other_names(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("models: {gpt-5.6-sol: {input: 1, output: 2}}")
    found = table([file]).find("gpt-5.6")
    assert found is not None
    assert found.rates["input"] == 1_000_000


def test_a_later_file_wins(tmp_path: Path) -> None:
    paths = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for i, path in enumerate(paths, 1):
        path.write_text(f"models: {{x: {{input: {i}, output: 1}}}}")
    assert priced(table(paths), "x").rates["input"] == 2_000_000


def test_a_line_may_say_everything() -> None:
    text = """
models:
  big:
    input: 1.25
    output: "10"
    cache_write_5m: 1.5625
    searches: 0.01
    tiers: [{above_input_tokens: 272000, input: 2.5}, {above_input_tokens: 1000, output: 11}]
    max_output_tokens: 128_000
    context_tokens: 400000
    dialects: [openai-chat]
    capabilities: [tools]
    aliases: [large]
"""
    read = parse(text, "p.yaml")
    big = read.prices["big"].at(None)
    assert big.rates == {
        "input": 1_250_000, "output": 10_000_000, "cache_write_5m": 1_562_500, "searches": 10**10,
    }  # fmt: skip
    assert [(t.above_input_tokens, t.rates) for t in big.tiers] == [
        (1000, {"output": 11_000_000}),
        (272_000, {"input": 2_500_000}),
    ]
    assert (big.max_output_tokens, big.context_tokens) == (128_000, 400_000)
    assert (big.dialects, big.capabilities) == ({"openai-chat"}, {"tools"})
    assert read.aliases == {"large": "big"}


def test_a_number_is_exact_however_it_is_written() -> None:
    read = parse("models: {a: {input: 0.1, output: 3e-1, cached_input: .000001}}", "p.yaml")
    assert read.prices["a"].at(None).rates == {"input": 100_000, "output": 300_000, "cached_input": 1}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "{input: 1, output: 2, cached_inptu: 1}",
            "this is not a kind of usage; did you mean `cached_input`?",
        ),
        ("{input: -1, output: 2}", "-1 is negative; a price is 0 or more"),
        ("{input: $1, output: 2}", "'$1' is not a number"),
        ("{input: .nan, output: 2}", "'.nan' is not a number"),
        ("{input: true, output: 2}", "'true' is not a number"),
        ("{input: [1], output: 2}", "this is not a number"),
        ("{input: 1e99, output: 2}", "beyond belief"),
        ("{input: 0.0000001, output: 2}", "finer than a pico-USD"),
        ("{input: 1, output: 2, searches: 0.0000000000001}", "give at most 12 decimals"),
        ("{input: 1}", "the price is missing; write `output: 0` if it is free"),
        ("{output: 1}", "the price is missing; write `input: 0` if it is free"),
        ("{}", "no kind is priced"),
        ("2.50", "this is not a mapping"),
        ("{input: 1, output: 2, input: 3}", "given twice, first on line 2"),
        ("{input: 1, output: 2, max_output_tokens: 0}", "this is not a number of tokens"),
        ("{input: 1, output: 2, dialects: openai-chat}", "this is not a list of names"),
        ("{input: 1, output: 2, capabilities: [tool]}", "'tool' is none; did you mean `tools`?"),
        ("{input: 1, output: 2, tiers: {a: 1}}", "this is not a list"),
        ("{input: 1, output: 2, tiers: [{input: 5}]}", "above_input_tokens is missing"),
    ],
)
def test_a_fault_names_line_field_and_remedy(line: str, said: str) -> None:
    (fault,) = faults(f"models:\n  m: {line}\n")
    assert fault.startswith("p.yaml:2: models.m")
    assert said in fault


def test_all_faults_are_told_at_once() -> None:
    text = "models:\n  a: {input: x, output: 1}\n  b: {input: 1}\nmodel: 1\n"
    assert [f.split(":")[1] for f in faults(text)] == ["2", "3", "4"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("models: {}", "the file prices no model"),
        ("[1]", "this is not a mapping"),
        ("models: [1", "this is not YAML"),
        ("models: {my-*: {input: 1, output: 1, aliases: [x]}}", "a glob has no other names"),
        ("models: {? [a] : 1}", "this key is not a name"),
    ],
)
def test_a_file_of_another_form_is_refused(text: str, said: str) -> None:
    assert any(said in f for f in faults(text))


def test_a_file_that_can_not_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yaml: the price file cannot be read: No such file"):
        table([tmp_path / "none.yaml"])
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="it is not UTF-8 text"):
        load_overrides(binary)


def test_faults_of_all_files_come_together(tmp_path: Path) -> None:
    paths = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for path in paths:
        path.write_text("models: {a: {input: 1}}")
    with pytest.raises(ConfigurationError) as e:
        table(paths)
    assert [f.path for f in e.value.faults] == [str(p) for p in paths]
