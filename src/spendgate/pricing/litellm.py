"""Prices out of litellm's `model_prices_and_context_window.json`, as a price file of ours. Pure.

Its numbers are read from their text as exact decimals. Of what it knows and a price file can say, nothing is
lost: rates by kind, context tiers, batch, flex and priority, residency, the longest answer, capabilities. A
model of which a number is finer than a pico-USD a unit, or which prices nothing that is metered, is left out
and named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from typing import Any

from spendgate.errors import ConfigurationError, Fault
from spendgate.pricing.catalogue import HOSTS
from spendgate.values import dataclass

PROVIDERS: Mapping[str, str] = {
    "openai": "openai", "text-completion-openai": "openai", "anthropic": "anthropic", "gemini": "google",
    "vertex_ai": "google", "azure": "azure", "azure_ai": "azure", "bedrock": "aws", "bedrock_converse": "aws",
    "mistral": "mistral", "cohere": "cohere", "cohere_chat": "cohere", "deepseek": "deepseek", "xai": "x-ai",
    "groq": "groq", "together_ai": "together", "fireworks_ai": "fireworks", "cerebras": "cerebras",
    "openrouter": "openrouter", "perplexity": "perplexity", "moonshot": "moonshotai", "zai": "zai",
    "minimax": "minimax", "voyage": "voyageai", "databricks": "databricks", "cloudflare": "cloudflare",
    "baseten": "baseten", "novita": "novita", "ovhcloud": "ovhcloud",
    "deepinfra": "deepinfra", "dashscope": "alibaba", "bedrock_mantle": "aws",
}  # fmt: skip
"""litellm's provider → ours; `vertex_ai-…` counts as `vertex_ai`."""

MTOK = Decimal(10**6)
KINDS: Mapping[str, tuple[str, Decimal]] = {
    "input_cost_per_token": ("input", MTOK),
    "output_cost_per_token": ("output", MTOK),
    "cache_read_input_token_cost": ("cached_input", MTOK),
    "cache_read_input_audio_token_cost": ("cached_input_audio", MTOK),
    "cache_read_input_image_token_cost": ("cached_input_image", MTOK),
    "cache_creation_input_token_cost": ("cache_write_5m", MTOK),
    "cache_creation_input_token_cost_above_1hr": ("cache_write_1h", MTOK),
    "cache_creation_input_token_cost_above_12hr": ("cache_write_12h", MTOK),
    "output_cost_per_reasoning_token": ("reasoning", MTOK),
    "input_cost_per_audio_token": ("input_audio", MTOK),
    "output_cost_per_audio_token": ("output_audio", MTOK),
    "input_cost_per_image_token": ("input_image", MTOK),
    "output_cost_per_image_token": ("output_image", MTOK),
    "input_cost_per_video_token": ("input_video", MTOK),
    "output_cost_per_image": ("images", Decimal(1)),
    "input_cost_per_second": ("seconds", Decimal(1)),
    "output_cost_per_second": ("seconds", Decimal(1)),
    "input_cost_per_character": ("characters", Decimal(1)),
    "input_cost_per_request": ("requests", Decimal(1)),
    "input_cost_per_query": ("searches", Decimal(1)),
    "google_maps_grounding_cost_per_query": ("maps", Decimal(1)),
}
TIERS: Mapping[str, str] = {
    "_batches": "batch",
    "_flex": "flex",
    "_priority": "priority",
    "_ultrafast": "ultrafast",
}
RESIDENCY: Mapping[str, str] = {
    "regional_processing_uplift_multiplier_eu": "eu",
    "regional_processing_uplift_multiplier_us": "us",
    "regional_endpoint_uplift_multiplier": "regional",
}
CAPABILITIES: Mapping[str, str] = {
    "supports_function_calling": "tools",
    "supports_vision": "images",
    "supports_audio_input": "audio",
    "supports_response_schema": "json_schema",
}
_ABOVE = re.compile(r"_above_(\d+)k_tokens")
_DECIMALS = {Decimal(1): 12, MTOK: 6}


@dataclass(slots=True)
class Imported:
    """The price file's text, and what was left out: (model, why)."""

    text: str
    models: int
    left_out: list[tuple[str, str]] = field(default_factory=list)


class _LeftOut(Exception):
    """Why a model has no line."""


def convert(text: str, path: str, provider: str = "", pattern: str = "") -> Imported:
    """Convert the file's text; only models of `provider` (ours) and of the glob `pattern`, where given.

    Raises ConfigurationError where it is not litellm's file.
    """
    try:
        listed = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    except ValueError as e:
        raise ConfigurationError([Fault(path, getattr(e, "lineno", 0), "", f"this is not JSON: {e}")]) from e
    if not isinstance(listed, dict) or not any(isinstance(v, dict) and "mode" in v for v in listed.values()):
        remedy = "give model_prices_and_context_window.json"
        raise ConfigurationError([Fault(path, 0, "", "these are not litellm's model prices", remedy)])
    lines: dict[str, str] = {}
    left_out: list[tuple[str, str]] = []
    for key, entry in listed.items():
        if not isinstance(entry, dict) or key == "sample_spec":
            continue
        ours = PROVIDERS.get(str(entry.get("litellm_provider", "")).partition("-")[0], "") or PROVIDERS.get(
            str(entry.get("litellm_provider", "")), ""
        )
        name = _name(key, ours)
        if not ours or (provider and ours != provider) or (pattern and not fnmatchcase(name, pattern)):
            continue
        name = f"{ours}/{name}" if ours in HOSTS else name
        if name in lines:
            continue
        try:
            lines[name] = _flow(_line(entry))
        except _LeftOut as why:
            left_out.append((key, str(why)))
    body = "".join(f"  {json.dumps(name)}: {line}\n" for name, line in sorted(lines.items()))
    return Imported(f"models:\n{body}" if lines else "", len(lines), left_out)


def _name(key: str, provider: str) -> str:
    """litellm's key without its own prefix of the provider."""
    for prefix, ours in PROVIDERS.items():
        if ours == provider and key.startswith(f"{prefix}/"):
            return key.removeprefix(f"{prefix}/")
    return key


def _line(entry: Mapping[str, Any]) -> dict[str, Any]:
    line: dict[str, Any] = dict(_rates(entry, "", 0))
    if not line:
        raise _LeftOut("it prices nothing that is metered")
    if "input" in line or "output" in line:
        line.setdefault("input", "0")
        line.setdefault("output", "0")
    if searches := _searches(entry):
        line["searches"] = searches
    if tiers := _tiers(entry, ""):
        line["tiers"] = tiers
    service = {}
    for suffix, word in TIERS.items():
        rates: dict[str, Any] = dict(_rates(entry, suffix, 0))
        if contexts := _tiers(entry, suffix):
            rates["tiers"] = contexts
        if rates:
            service[word] = rates
    if service:
        line["service_tiers"] = service
    if places := {p: _plain(entry[f], Decimal(1)) for f, p in RESIDENCY.items() if f in entry}:
        line["residency"] = places
    for ours, theirs in (("max_output_tokens", "max_output_tokens"), ("context_tokens", "max_input_tokens")):
        value = entry.get(theirs)
        if isinstance(value, Decimal) and value == int(value) and value > 0:
            line[ours] = str(int(value))
    can = sorted(word for flag, word in CAPABILITIES.items() if entry.get(flag) is True)
    return {**line, "capabilities": can} if can else line


def _rates(entry: Mapping[str, Any], suffix: str, above: int) -> Iterator[tuple[str, str]]:
    context = f"_above_{above}k_tokens" if above else ""
    seen = set()
    for key, (kind, factor) in KINDS.items():
        value = entry.get(f"{key}{context}{suffix}")
        if value is not None and kind not in seen:
            seen.add(kind)
            yield kind, _plain(value, factor)


def _tiers(entry: Mapping[str, Any], suffix: str) -> list[dict[str, Any]]:
    begins = sorted({int(found[1]) for key in entry if (found := _ABOVE.search(key))})
    tiers = []
    for above in begins:
        rates = dict(_rates(entry, suffix, above))
        if rates:
            tiers.append({"above_input_tokens": str(above * 1000), **rates})
    return tiers


def _searches(entry: Mapping[str, Any]) -> str:
    """The dearest of the sizes of a search: which one is used, no answer tells."""
    costs = entry.get("search_context_cost_per_query")
    if not isinstance(costs, dict):
        return ""
    return _plain(max(c for c in costs.values() if isinstance(c, Decimal)), Decimal(1))


def _plain(value: Any, factor: Decimal) -> str:
    """A number as a plain decimal; what is none, negative, or too fine leaves the model out."""
    try:
        number = Decimal(value) * factor
    except (InvalidOperation, TypeError, ValueError) as e:
        raise _LeftOut(f"{value!r} is not a number") from e
    if number < 0:
        raise _LeftOut(f"{value} is negative")
    decimals = _DECIMALS[factor]
    if number != round(number, decimals):
        raise _LeftOut(f"{value} is finer than a pico-USD a unit")
    text = f"{round(number, decimals):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _flow(value: Any) -> str:
    """YAML flow style, on one line; numbers stay as they are written."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(v) for v in value) + "]"
    return str(value)
