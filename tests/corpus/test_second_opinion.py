"""What genai-prices extracts from, and charges for, the recorded answers: the same, or the reason is written."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from genai_prices import calc_price
from genai_prices.data import providers
from support.recorded import Exchange, documents, exchanges, totals

from spendgate.pricing.cost import cost_nanousd
from spendgate.pricing.load import table
from spendgate.pricing.price import FEES
from spendgate.pricing.terms import Terms
from spendgate.usage import Usage, input_total, output_total

PROVIDERS = {provider.id: provider for provider in providers}
HOSTS = {
    "azure": ("azure", "chat"),
    "groq.com": ("groq", "default"),
    "deepseek": ("deepseek", "chat"),
    "mistral.ai": ("mistral", "default"),
    "openrouter": ("openrouter", "chat"),
}
FLAVOURS = {
    "openai-chat": ("openai", "chat"),
    "openai-completions": ("openai", "chat"),
    "openai-responses": ("openai", "responses"),
    "openai-embeddings": ("openai", "embeddings"),
    "anthropic-messages": ("anthropic", "default"),
    "gemini": ("google", "default"),
    "bedrock-converse": ("aws", "default"),
    "cohere-chat": ("cohere", "default"),
}
"""Dialect → genai-prices' provider and flavour. It reads no others."""

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
"""The moment that both price at: some prices depend on the hour."""

COMPACTION = "test_compaction"
"""Answers whose top-level usage leaves out a call (Anthropic's compaction): we sum `iterations`, it does not."""


def flavour(exchange: Exchange) -> tuple[str, str] | None:
    if exchange.dialect.name == "openai-chat":
        for part, known in HOSTS.items():
            if part in exchange.recording.host:
                return known
    return FLAVOURS.get(exchange.dialect.name)


def collected(exchange: Exchange) -> dict[str, Any]:
    """The answer as one document: a stream's usage laid together field by field."""
    model = ""
    out: dict[str, Any] = {}
    for document in documents(exchange.recording):
        holders = [document, *(document.get(k) for k in ("message", "response", "metadata", "delta"))]
        for holder in (h for h in holders if isinstance(h, dict)):
            model = holder.get("model") or holder.get("modelVersion") or model
            for key in ("usage", "usageMetadata"):
                if isinstance(holder.get(key), dict):
                    known = {k: v for k, v in holder[key].items() if v is not None}
                    out[key] = {**out.get(key, {}), **known}
    return {"model": model, "modelVersion": model, **out}


def opinions() -> list[tuple[Exchange, str, Any]]:
    """(exchange, provider, genai-prices' usage) of every answer that it can read."""
    found = []
    for exchange in exchanges():
        known = flavour(exchange)
        if known is None or totals(exchange.recording) is None or COMPACTION in exchange.recording.source:
            continue
        document = collected(exchange)
        if not (document.get("usage") or document.get("usageMetadata")):
            continue  # Groq's `x_groq` alone
        found.append(
            (exchange, known[0], PROVIDERS[known[0]].extract_usage(document, api_flavor=known[1])[1])
        )
    return found


def test_genai_prices_extracts_the_same_usage() -> None:
    faults = []
    for exchange, _, theirs in opinions():
        usage = exchange.own_usage()
        ours = {
            "input_tokens": input_total(usage),
            "output_tokens": output_total(usage),
            "cache_read_tokens": usage.get("cached_input", 0),
            "cache_write_tokens": usage.get("cache_write_5m", 0) + usage.get("cache_write_1h", 0),
            "cache_write_1h_tokens": usage.get("cache_write_1h", 0),
            "output_audio_tokens": usage.get("output_audio", 0),
        }
        told = {key: getattr(theirs, key, None) or 0 for key in ours}
        if ours != told:
            faults.append(f"{exchange.recording.source}: {ours} but genai-prices reads {told}")
    assert not faults, "\n".join(faults)


def without_fees(usage: Usage) -> Usage:
    """genai-prices reads no fees out of answers: searches, containers of code interpreters and a guardrail's checks are
    items of an answer or its trace, and no counts of its usage."""
    return {kind: n for kind, n in usage.items() if kind not in FEES or kind == "requests"}


OTHERWISE = {
    "deepseek-chat": "the package has the price of 2025, with hours; the name points to the current model",
    "deepseek-reasoner": "likewise",
}
"""Models of which the package says otherwise, and why we do not follow it."""


def charged(usage: Any, model: str, provider: str) -> Decimal:
    """What genai-prices charges, in nano-USD."""
    return calc_price(usage, model, provider_id=provider, genai_request_timestamp=AT).total_price * 10**9


def test_genai_prices_charges_the_same() -> None:
    prices = table()
    faults, compared = [], 0
    for exchange, provider, theirs in opinions():
        reading = exchange.reading()
        model = reading.model or exchange.model
        price = prices.find(model, Terms(provider, at_ms=int(AT.timestamp() * 1000)))
        if price is None:
            continue
        try:
            told = charged(theirs, model, provider)
        except LookupError:
            continue
        if getattr(theirs, "web_searches", None):
            told -= charged(type(theirs)(web_searches=theirs.web_searches), model, provider)
        ours = cost_nanousd(price, without_fees(exchange.own_usage()))
        compared += 1
        if model in OTHERWISE:
            assert abs(ours - told) > Decimal("0.5"), f"{model}: no difference any more"
        elif abs(ours - told) > Decimal("0.5"):
            faults.append(f"{exchange.recording.source}: {model}: {ours} but genai-prices says {told}")
    assert not faults, "\n".join(faults)

    assert compared > 2_000
