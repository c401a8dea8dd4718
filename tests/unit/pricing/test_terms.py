"""Tiers, places, providers, discounts and days: what a price depends on beside the model's name."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.errors import ConfigurationError
from spendgate.exchange.snapshot import Address
from spendgate.pricing.catalogue import builtin, day_ms
from spendgate.pricing.cost import charge, cost_nanousd, estimate_nanousd
from spendgate.pricing.load import files_of, table
from spendgate.pricing.parse import parse
from spendgate.pricing.price import Entry, Price
from spendgate.pricing.table import PriceTable
from spendgate.pricing.terms import (
    Terms,
    provider_of_host,
    provider_of_url,
    residency_of,
)

NOW = day_ms("2026-11-24")


@pytest.fixture(scope="module")
def prices() -> PriceTable:
    return table()


def priced(of: PriceTable, model: str, **terms: object) -> Price:
    found = of.find(model, Terms(**{"at_ms": NOW, **terms}))  # type: ignore[arg-type]
    assert found is not None, model
    return found


def with_file(folder: Path, text: str) -> PriceTable:
    path = folder / "prices.yaml"
    path.write_text(text)
    return table([path])


# -- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "provider", "entry"),
    [
        ("gpt-4o", "", "openai gpt-4o"),
        ("gpt-4o", "azure", "azure gpt-4o"),
        ("openai/gpt-4o-2024-08-06", "", "openai gpt-4o"),
        ("openai/gpt-4o", "openrouter", "openrouter openai/gpt-4o"),
        ("anthropic/claude-sonnet-4.5-20250929", "openrouter", "openrouter anthropic/claude-sonnet-4.5"),
        ("ft:gpt-4o-mini-2024-07-18:acme::id", "openai", "openai ft:gpt-4o-mini"),
        ("claude-sonnet-4-5-20250929", "", "anthropic claude-sonnet-4-5"),
        ("claude-sonnet-4-5@20250929", "google", "google claude-sonnet-4-5"),
        ("claude-opus-4-6@default", "google", "google claude-opus-4-6"),
        ("models/gemini-2.5-pro", "google", "google gemini-2.5-pro"),
        ("publishers/google/models/gemini-2.5-flash", "", "google gemini-2.5-flash"),
        ("projects/p/locations/us-east5/publishers/google/models/gemini-2.5-flash", "", "google gemini-2.5-flash"),
        ("google/gemini-2.5-flash", "google", "google gemini-2.5-flash"),
        ("gemini-2.0-flash-001", "google", "google gemini-2.0-flash"),
        ("anthropic.claude-3-haiku-20240307-v1:0", "", "aws regional.anthropic.claude-3-haiku-20240307"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws", "aws regional.anthropic.claude-sonnet-4-5-20250929"),
        ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", "", "aws global.anthropic.claude-sonnet-4-5-20250929"),
        (
            "arn:aws:bedrock:us-east-1:1:inference-profile/eu.anthropic.claude-opus-5-5", "aws",
            "aws regional.anthropic.claude-opus-5-5",
        ),
        ("amazon.nova-pro-v1:0", "", "aws amazon.nova-pro"),
        ("openai.gpt-oss-120b-1:0", "aws", "aws openai.gpt-oss-120b"),
        ("command-r-plus-08-2024", "cohere", "cohere command-r-plus"),
        ("mistral-large-latest", "mistral", "mistral mistral-large-latest"),
        ("llama-3.3-70b-versatile", "", "groq llama-3.3-70b-versatile"),
        ("meta-llama/Llama-3.3-70B-Instruct-Turbo", "together", "together meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        ("meta-llama/llama-3.3-70b-instruct-turbo", "together", "together meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        ("grok-4", "x-ai", "x-ai grok-4-0709"),
        ("claude-opus", "", " claude-opus"),
        ("llama-3-8b", "", " llama-3-8b"),
    ],
)  # fmt: skip
def test_a_documented_form_of_a_name_finds_its_price(
    prices: PriceTable, name: str, provider: str, entry: str
) -> None:
    found = prices.locate(name, provider)
    assert found is not None
    assert f"{found.entry.facts.provider} {found.entry.facts.model}" == entry


@pytest.mark.parametrize(
    "name",
    ["gemini-2.5-pro-evil", "gpt-4o-x", "claude-opus-4-6-turbo", "us.anthropic.claude-9", "chat-prod",
     "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc", "llama-3.3-70b-versatile-2", "models/", ""],
)  # fmt: skip
def test_a_name_that_only_looks_alike_has_no_price(prices: PriceTable, name: str) -> None:
    assert prices.find(name) is None


def test_the_same_name_costs_what_its_provider_asks(prices: PriceTable) -> None:
    at = {
        p: priced(prices, "openai/gpt-oss-120b", provider=p).rates["output"] for p in ("groq", "openrouter")
    }
    assert at["groq"] == 600_000
    assert len(set(at.values())) == 2


def test_by_the_name_alone_the_dearest_host_counts() -> None:
    catalogue = builtin()
    weights = {
        p: found.weight
        for p in catalogue.providers
        if (found := catalogue.find("gpt-oss-120b", p)) is not None and found.facts.provider == p
    }
    alone = catalogue.find("openai/gpt-oss-120b")
    assert alone is not None
    if "openai" not in weights:
        assert alone.weight >= weights["groq"]


def test_a_deployment_is_priced_as_its_model(tmp_path: Path) -> None:
    own = with_file(tmp_path, "deployments: {chat-prod: gpt-4o, house: azure-house}\nmodels:\n"
                    "  azure-house: {input: 1, output: 2}\n")  # fmt: skip
    assert priced(own, "chat-prod", provider="azure").rates["input"] == 2_500_000
    assert priced(own, "house", provider="azure").rates["input"] == 1_000_000


def test_a_price_for_one_provider_leaves_the_others(tmp_path: Path) -> None:
    own = with_file(tmp_path, "models: {azure/gpt-4o: {input: 2.75, output: 11}}")
    assert priced(own, "gpt-4o", provider="azure").rates["input"] == 2_750_000
    assert priced(own, "gpt-4o", provider="azure").max_output_tokens == 16384
    assert priced(own, "gpt-4o", provider="openai").rates["input"] == 2_500_000
    assert priced(own, "gpt-4o").rates["input"] == 2_500_000


def test_a_price_for_a_model_is_none_for_its_dated_one_that_has_its_own(tmp_path: Path) -> None:
    own = with_file(tmp_path, "models: {gpt-4o: {input: 1, output: 2}}")
    assert priced(own, "gpt-4o-2024-08-06").rates["input"] == 1_000_000
    assert priced(own, "gpt-4o-2024-05-13").rates["input"] == 5_000_000


@pytest.mark.parametrize(
    ("host", "provider"),
    [("api.openai.com", "openai"), ("eu.api.openai.com:443", "openai"), ("acme.openai.azure.com", "azure"),
     ("bedrock-runtime.us-east-1.amazonaws.com", "aws"), ("us-east5-aiplatform.googleapis.com", "google"),
     ("aiplatform.googleapis.com", "google"), ("API.GROQ.COM", "groq"), ("127.0.0.1:9900", ""),
     ("api.openai.com.evil.example", ""), ("llm-gateway.svc.cluster.local", ""), ("", "")],
)  # fmt: skip
def test_a_host_tells_who_serves(host: str, provider: str) -> None:
    assert provider_of_host(host) == provider
    assert provider_of_url(f"https://{host.lower()}/v1") == provider


@pytest.mark.parametrize(
    ("dialect", "path", "provider"),
    [
        ("openai-chat", "/openai/deployments/x/chat/completions", "azure"),
        ("openai-chat", "/v1beta1/projects/p/locations/global/endpoints/openapi/chat/completions", "google"),
        ("anthropic-vertex", "/v1/publishers/anthropic/models/m:rawPredict", "google"),
        ("gemini", "/v1beta/models/g:generateContent", "google"),
        ("bedrock-converse", "/model/x/converse", "aws"),
        ("mistral-conversations", "/v1/conversations", "mistral"),
        ("openai-chat", "/v1/chat/completions", ""),
        ("anthropic-messages", "/v1/messages", ""),
        ("", "/v1/messages", ""),
    ],
)
def test_a_path_and_a_dialect_tell_who_serves_where_only_one_can(
    dialect: str, path: str, provider: str
) -> None:
    assert Address(dialect, path).provider == provider


# -- tiers and places ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tier", "rate"),
    [("", 2_500_000), ("default", 2_500_000), ("auto", 2_500_000), ("scale", 2_500_000), ("flex", 1_250_000),
     ("batch", 1_250_000), ("priority", 5_000_000)],
)  # fmt: skip
def test_a_service_tier_has_its_price(prices: PriceTable, tier: str, rate: int) -> None:
    found = priced(prices, "gpt-5.4", tier=tier)
    assert found.rates["input"] == rate
    assert found.tier_known


def test_an_unheard_of_tier_takes_the_dearest_and_says_so(prices: PriceTable) -> None:
    found = priced(prices, "gpt-5.4", tier="turbo")
    assert (found.rates["input"], found.tier_known) == (5_000_000, False)


def test_a_dearer_tier_without_a_price_is_charged_at_least_what_its_word_means(prices: PriceTable) -> None:
    found = priced(prices, "gpt-5.4", tier="ultrafast")
    assert (found.rates["input"], found.rates["output"], found.tier_known) == (15_000_000, 90_000_000, False)
    assert found.rates["searches"] == priced(prices, "gpt-5.4").rates["searches"]
    assert not priced(prices, "claude-haiku", tier="priority").tier_known


def test_a_cheaper_tier_without_a_price_is_never_assumed(prices: PriceTable) -> None:
    assert priced(prices, "claude-haiku", tier="flex").rates == priced(prices, "claude-haiku").rates
    assert not priced(prices, "claude-haiku", tier="flex").tier_known


def test_context_tiers_hold_within_a_service_tier(prices: PriceTable) -> None:
    usage = {"input": 300_000, "output": 10}
    assert cost_nanousd(priced(prices, "gpt-5.4", tier="flex"), usage) == 300_000 * 2_500 + 10 * 11_250
    assert cost_nanousd(priced(prices, "gpt-5.4", tier="priority"), usage) == 300_000 * 5_000 + 10 * 30_000


def test_a_tier_does_not_hold_before_its_first_day(prices: PriceTable) -> None:
    before = priced(prices, "gpt-5.4", tier="flex", at_ms=day_ms("2026-10-11"))
    assert (before.rates["input"], before.tier_known) == (2_500_000, False)


@pytest.mark.parametrize(
    ("model", "provider", "place", "factor"),
    [
        ("claude-opus-5-5", "anthropic", "us", Fraction(11, 10)),
        ("claude-opus-5-5", "anthropic", "global", Fraction(1)),
        ("claude-opus-4-5", "anthropic", "us", Fraction(1)),
        ("gpt-5.4", "openai", "eu", Fraction(11, 10)),
        ("gpt-4o", "openai", "eu", Fraction(1)),
        ("claude-opus-4-6", "google", "regional", Fraction(11, 10)),
        ("gemini-3.5-flash", "google", "regional", Fraction(11, 10)),
        ("gemini-2.5-pro", "google", "regional", Fraction(1)),
    ],
)
def test_a_place_costs_its_surcharge(
    prices: PriceTable, model: str, provider: str, place: str, factor: Fraction
) -> None:
    usage = {"input": 1003, "cached_input": 77, "output": 501}
    base = priced(prices, model, provider=provider)
    there = priced(prices, model, provider=provider, residency=place)
    exact = Fraction(cost_nanousd(base, {k: n * 100 for k, n in usage.items()}), 100) * factor
    assert abs(cost_nanousd(there, usage) - exact) <= Fraction(1, 2)
    assert estimate_nanousd(there, 1080, 501) >= cost_nanousd(there, usage)


def test_bedrocks_regional_models_cost_a_tenth_more(prices: PriceTable) -> None:
    usage = {"input": 1000, "output": 1000}
    name = "anthropic.claude-sonnet-4-5-20250929-v1:0"
    there = cost_nanousd(priced(prices, f"us.{name}"), usage)
    assert there * 10 == cost_nanousd(priced(prices, f"global.{name}"), usage) * 11


@pytest.mark.parametrize(
    ("host", "path", "place"),
    [("eu.api.openai.com", "/v1/chat/completions", "eu"), ("api.openai.com", "/v1/x", ""),
     ("us-east5-aiplatform.googleapis.com", "/v1/projects/p/locations/us-east5/publishers/x", "regional"),
     ("aiplatform.googleapis.com", "/v1/projects/p/locations/global/publishers/x", "")],
)  # fmt: skip
def test_an_address_binds_to_a_place(host: str, path: str, place: str) -> None:
    assert residency_of(host, path) == place


# -- discounts ----------------------------------------------------------------------------------------------

DISCOUNTS = """
discounts:
  - {percent: 10, provider: anthropic, from: 2026-11-01, until: 2026-12-01}
  - {percent: 12.5, provider: openai}
  - {percent: 33.33, provider: openai, model: "gpt-5*"}
"""


def test_a_discount_holds_for_its_vendor_its_models_and_its_days(tmp_path: Path) -> None:
    own = with_file(tmp_path, DISCOUNTS)
    usage = {"input": 1_000_000}

    def cost(model: str, day: str = "2026-11-24") -> int:
        return cost_nanousd(priced(own, model, at_ms=day_ms(day)), usage)

    assert cost("claude-opus-5") == 4_500_000_000
    assert cost("claude-opus-5", "2026-10-31") == cost("claude-opus-5", "2026-12-01") == 5_000_000_000
    assert cost("gpt-4o") == 2_187_500_000
    assert cost("gpt-5.4") == 3_333_500_000  # 33.33 % off 5 USD, the price above 272k tokens
    assert cost("gemini-2.5-flash") == 300_000_000


def test_a_discount_is_exact_and_multiplies_with_a_surcharge(tmp_path: Path) -> None:
    own = with_file(tmp_path, DISCOUNTS)
    found = priced(own, "claude-opus-5-5", provider="anthropic", residency="us")
    assert Fraction(*found.multiplier) == Fraction(11, 10) * Fraction(9, 10)
    assert cost_nanousd(found, {"input": 1}) == 3960


def test_a_discounts_version_differs(tmp_path: Path) -> None:
    assert with_file(tmp_path, DISCOUNTS).version != table().version


# -- days ---------------------------------------------------------------------------------------------------


def test_a_change_mid_month_prices_earlier_exchanges_with_the_earlier_price(tmp_path: Path) -> None:
    own = with_file(tmp_path, """
models:
  gpt-4o:
    - {from: 2026-11-15, input: 2.00, output: 8.00}
    - {from: "2026-11-20T12:00Z", input: 1.00, output: 4.00}
""")  # fmt: skip
    noon = day_ms("2026-11-20") + 43_200_000
    at = {
        t: priced(own, "gpt-4o", at_ms=t).rates["input"]
        for t in (day_ms("2026-11-14"), day_ms("2026-11-15"), noon - 1, noon)
    }
    assert list(at.values()) == [2_500_000, 2_000_000, 2_000_000, 1_000_000]
    assert priced(own, "gpt-4o", tier="batch", at_ms=noon).rates["input"] == 1_250_000


def test_an_own_price_that_begins_later_holds_before_too_where_nothing_else_is_known(tmp_path: Path) -> None:
    own = with_file(tmp_path, "models: {house: [{from: 2030-01-01, input: 1, output: 2}]}")
    assert priced(own, "house").rates["input"] == 1_000_000


def test_a_file_may_state_tiers_of_service_and_places(tmp_path: Path) -> None:
    own = with_file(tmp_path, """
models:
  house:
    input: 1
    output: 2
    service_tiers: {night: {input: 0.25, output: 0.5}}
    residency: {ch: 1.25}
""")  # fmt: skip
    assert priced(own, "house", tier="night").rates == {"input": 250_000, "output": 500_000}
    assert priced(own, "house", residency="ch").multiplier == (125, 100)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("discounts: [{percent: 101, provider: x}]", "discounts[0].percent: 101 is out of bounds"),
        ("discounts: [{percent: 0.001}]", "too fine; write a percentage such as 12.5"),
        ("discounts: [{provider: x}]", "percent is missing"),
        ("discounts: [{percent: 5, models: x}]", "did you mean `model`?"),
        ("discounts: [{percent: 5, from: 2026-02-01, until: 2026-01-01}]", "it ends before it begins"),
        ("discounts: {percent: 5}", "this is not a list"),
        ("deployments: {a: [b]}", "this names no model"),
        ("models: {a: []}", "the list is empty"),
        ("models: {a: [{input: 1, output: 1}, {input: 2, output: 2}]}", "two prices begin at once"),
        ("models: {a: {from: 24.11.2026, input: 1, output: 1}}", "'24.11.2026' is no day"),
        ("models: {a: {from: 2026-02-31, input: 1, output: 1}}", "'2026-02-31' is no day"),
        ("models: {a: {input: 1, output: 1, residency: {us: 1.111}}}", "too fine"),
        ("models: {a: {input: 1, output: 1, service_tiers: {flex: {inptu: 1}}}}", "did you mean `input`?"),
    ],
)
def test_a_fault_names_its_field(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as e:
        parse(text, "p.yaml")
    assert any(said in str(f) for f in e.value.faults), [str(f) for f in e.value.faults]


def test_a_folder_is_its_price_files_in_order(tmp_path: Path) -> None:
    """A mounted ConfigMap: the files are links into a folder that is itself a link, and are swapped at once."""
    data = tmp_path / "..2026_11_24"
    data.mkdir()
    for name, usd in (("b.yaml", 2), ("a.yml", 1)):
        (data / name).write_text(f"models: {{x: {{input: {usd}, output: 1}}}}")
    (tmp_path / "..data").symlink_to(data.name)
    for name in ("b.yaml", "a.yml"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    (tmp_path / "README").write_text("not a price")
    assert [p.name for p in files_of([tmp_path])] == ["a.yml", "b.yaml"]
    assert priced(table([tmp_path]), "x").rates["input"] == 2_000_000


# -- laws ---------------------------------------------------------------------------------------------------

MODELS = st.one_of(
    st.sampled_from(
        ["gpt-4o", "claude-opus-9", "openai/gpt-oss-120b", "whisper-1", "tts-1", "dall-e-3", "nope"]
    ),
    st.text(max_size=20),
)
KINDS_USED = st.dictionaries(
    st.sampled_from(["input", "cached_input", "cache_write_5m", "cache_write_1h", "input_audio", "input_image",
                     "tool_input", "output", "reasoning", "output_audio", "output_image", "images", "seconds",
                     "characters", "searches"]),
    st.integers(1, 10**6),
    min_size=1,
)  # fmt: skip


TIERS_ASKED = st.sampled_from(["", "flex", "priority", "batch", "ultra"])
PROVIDERS = st.sampled_from(["", "azure", "groq", "aws"])


@given(MODELS, KINDS_USED, TIERS_ASKED, PROVIDERS)
def test_no_usage_of_any_model_is_silently_free(
    model: str, usage: dict[str, int], tier: str, provider: str
) -> None:
    """Only what a price list states to be free costs nothing."""
    prices = table()
    terms = Terms(provider, tier, "", NOW)
    price = prices.find(model, terms) or prices.dearest_of_family(model, terms)
    usage = {k: n * 1000 for k, n in usage.items()}
    if cost_nanousd(price, usage, prices.stand_ins) == 0:
        assert not charge(price, usage)[1]
        assert all(price.rates.get(k, price.rates.get("output")) == 0 for k in usage)


def test_a_stand_in_derives_as_a_rate_does() -> None:
    """No price list has a rate of its own for tools' input: a model without a price for tokens is charged the dearest
    price of input."""
    prices = table()
    whisper, usage = priced(prices, "whisper-1"), {"tool_input": 1000}
    assert charge(whisper, usage)[1] == {"tool_input"} and "tool_input" not in prices.stand_ins
    assert cost_nanousd(whisper, usage, prices.stand_ins) == prices.stand_ins["input"]
    assert estimate_nanousd(whisper, 0, 0, usage, stand_ins=prices.stand_ins) == prices.stand_ins["input"]


@given(
    MODELS,
    st.integers(0, 400_000),
    st.integers(0, 100_000),
    st.sampled_from(["", "flex", "priority", "ultra"]),
    st.sampled_from(["", "us", "eu"]),
    st.integers(day_ms("2024-01-01"), day_ms("2027-12-31")),
)
def test_an_estimate_is_never_below_the_cost_of_what_it_bounds(
    model: str, input_tokens: int, output_tokens: int, tier: str, place: str, at_ms: int
) -> None:
    prices = table()
    terms = Terms("", tier, place, at_ms)
    price = prices.find(model, terms) or prices.dearest_of_family(model, terms)
    usage = {
        "input": input_tokens // 2,
        "cached_input": input_tokens - input_tokens // 2,
        "output": output_tokens,
    }
    assert estimate_nanousd(price, input_tokens, output_tokens) >= cost_nanousd(price, usage)


def test_entries_made_of_a_single_price_are_that_price() -> None:
    price = Price("x", {"input": 1, "output": 2})
    assert Entry.of(price).at(NOW, "", "us").rates == price.rates
