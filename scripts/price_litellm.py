"""What build_prices.py takes from litellm's list (MIT): an extract by our providers and names, integers only.

Of each model that is metered here: rates, context tiers, service tiers, fees, residency, limits, capabilities. It fills
what genai-prices lacks, and is the second opinion of the tests on what both know.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

from spendgate.pricing.litellm import CAPABILITIES, KINDS, PROVIDERS, RESIDENCY, TIERS
from spendgate.pricing.price import FEES, UNIT_OF

LITELLM = "litellm==1.110.2"
LISTED = "litellm/model_prices_and_context_window_backup.json"
PREFIXES = {
    "openai": ("",), "anthropic": ("",), "google": ("gemini/", "", "vertex_ai/"), "azure": ("azure/",),
    "mistral": ("mistral/",), "cohere": ("", "cohere/", "cohere_chat/"), "deepseek": ("deepseek/",), "x-ai": ("xai/",),
    "groq": ("groq/",), "together": ("together_ai/",), "aws": ("", "bedrock_mantle/"), "fireworks": ("fireworks_ai/",),
    "openrouter": ("openrouter/",), "moonshotai": ("moonshot/",), "perplexity": ("perplexity/",),
    "cerebras": ("cerebras/",), "zai": ("zai/",), "deepinfra": ("deepinfra/",), "alibaba": ("dashscope/",),
}  # fmt: skip
"""How the keys of our providers' models begin; of several the first that has a field counts."""
MODES = frozenset({
    "chat", "completion", "responses", "embedding", "rerank", "image_generation", "audio_transcription",
    "audio_speech",
})  # fmt: skip
DATA_ZONE = re.compile(r"^azure/(us|eu)/(.+)$")
_ABOVE = re.compile(r"^input_cost_per_token_above_(\d+)k_tokens$")
_PICO = Decimal(10**12)


def extract() -> str:
    """Fetch the list and write the extract's text."""
    with tempfile.TemporaryDirectory() as tmp:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", tmp, LITELLM]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        (wheel,) = Path(tmp).glob("litellm-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            listed = json.loads(archive.read(LISTED), parse_float=Decimal)
    out = by_provider(listed)
    lines = [
        "{"
        + json.dumps({"source": LITELLM.replace("==", " "), "read": str(date.today())})[1:-1]
        + ', "models": {'
    ]
    for provider, models in out.items():
        lines.append(f"{json.dumps(provider)}: {{")
        lines += [
            f" {json.dumps(n)}: {json.dumps(of, separators=(',', ':'))}," for n, of in sorted(models.items())
        ]
        lines[-1] = lines[-1].removesuffix(",")
        lines.append("},")
    lines[-1] = "}"
    return "\n".join(lines) + "}}\n"


def by_provider(listed: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Provider of ours → name → what is known."""
    out: dict[str, dict[str, Any]] = {}
    for provider, prefixes in PREFIXES.items():
        models = out[provider] = {}
        for prefix in prefixes:
            for key, entry in listed.items():
                name = key.removeprefix(prefix)
                if not key.startswith(prefix) or not _ours(provider, name, entry):
                    continue
                models[name] = _joined(models.get(name), _model(entry))
    for key, entry in listed.items():
        place = DATA_ZONE.match(key)
        base = listed.get(f"azure/{place[2]}") if place else None
        if place is None or base is None or not base.get("input_cost_per_token"):
            continue
        percent = Decimal(entry["input_cost_per_token"]) * 100 / Decimal(base["input_cost_per_token"])
        if place[2] in out["azure"] and percent == int(percent) and percent != 100:
            out["azure"][place[2]].setdefault("residency", {})[place[1]] = int(percent)
    return out


def _ours(provider: str, name: str, entry: Any) -> bool:
    if not isinstance(entry, dict) or entry.get("mode") not in MODES:
        return False
    theirs = str(entry.get("litellm_provider", ""))
    if (PROVIDERS.get(theirs) or PROVIDERS.get(theirs.partition("-")[0])) != provider:
        return False
    # elsewhere a slash stands before a place or the size of a picture
    if "/" in name and provider in (
        "openai",
        "anthropic",
        "azure",
        "mistral",
        "cohere",
        "deepseek",
        "x-ai",
        "perplexity",
    ):
        return False
    if provider == "google" and name.startswith(("vertex_ai/", "gemini/")):
        return False
    return provider != "aws" or not re.match(r"(us-gov|us|eu|apac|au|jp|ca|global|bedrock)[./]|.*/", name)


def _joined(first: dict[str, Any] | None, second: dict[str, Any]) -> dict[str, Any]:
    if first is None:
        return second
    joined = {**second, **first}
    for field in ("service", "residency", "rates"):
        if field in first and field in second and (field != "rates" or _same(first, second)):
            joined[field] = {**second[field], **first[field]}
    return joined


def _same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return all(first["rates"].get(k) == second["rates"].get(k) for k in ("input", "output"))


def _model(entry: Mapping[str, Any]) -> dict[str, Any]:
    steps = entry.get("tiered_pricing")  # Alibaba's: by the length of the input
    flat = steps[0] if isinstance(steps, list) and steps else entry
    of: dict[str, Any] = {"rates": _rates(flat, "", "")}
    if flat is not entry:
        of["tiers"] = [[int(Decimal(step["range"][0])), _rates(step, "", "")] for step in steps[1:]]
    elif tiers := _tiers(entry, ""):
        of["tiers"] = tiers
    searches = entry.get("search_context_cost_per_query")
    if isinstance(searches, dict) and searches:
        # which size of a search is used, no response tells: the dearest
        of["rates"].setdefault("searches", _pico(max(Decimal(c) for c in searches.values())))
    if service := _service(entry):
        of["service"] = service
    places = {place: int(Decimal(entry[f]) * 100) for f, place in RESIDENCY.items() if f in entry}
    if "us" in (entry.get("provider_specific_entry") or {}):
        places["us"] = int(Decimal(entry["provider_specific_entry"]["us"]) * 100)
    if places:
        of["residency"] = dict(sorted(places.items()))
    for ours, theirs in (("output", "max_output_tokens"), ("context", "max_input_tokens")):
        if entry.get(theirs):
            of[ours] = int(entry[theirs])
    if "output" in of:
        of["can"] = sorted(c for field, c in CAPABILITIES.items() if entry.get(field))
    if entry.get("supports_reasoning"):
        of["reasons"] = True
    return of


def _service(entry: Mapping[str, Any]) -> dict[str, Any]:
    service: dict[str, Any] = {}
    for suffix, word in TIERS.items():
        rates = {k: r for k, r in _rates(entry, "", suffix).items() if k not in FEES}
        if rates:
            contexts = _tiers(entry, suffix)
            service[word] = [rates, contexts] if contexts else [rates]
    return service


def _rates(entry: Mapping[str, Any], context: str, suffix: str) -> dict[str, int]:
    out: dict[str, int] = {}
    for field, (kind, _) in KINDS.items():
        value = entry.get(f"{field}{context}{suffix}")
        if value is not None and kind not in out and Decimal(value) >= 0:
            out[kind] = _pico(Decimal(value) * UNIT_OF.get(kind, 1))
    if not out.get("seconds", 1):
        del out["seconds"]
    return out


def _tiers(entry: Mapping[str, Any], suffix: str) -> list[Any]:
    found = sorted(int(above[1]) for key in entry if (above := _ABOVE.match(key)))
    tiers = [[above * 1000, _rates(entry, f"_above_{above}k_tokens", suffix)] for above in found]
    return [tier for tier in tiers if tier[1]]


def _pico(usd: Decimal) -> int:
    return int((usd * _PICO).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))
