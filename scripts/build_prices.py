"""Build src/spendgate/pricing/catalogue.json from published price data. Run it at release time.

    python scripts/build_prices.py                       # writes the catalogue again
    python scripts/build_prices.py --facts               # first reads the limits of models again

Three sources, all in the repository or pinned:

- prices: the package `genai-prices` (MIT) at the version of pyproject.toml's extra `dev`: exact decimals,
  effective dates, tiers by context, cache kinds, service tiers;
- facts (`price_sources/facts.json`): longest answers, capabilities and residency surcharges, an extract of the
  JSON file in the package `litellm` (MIT), refreshed by `--facts`;
- `price_sources/own.yaml`: our own additions, each with its reason.

Numbers become integers: pico-USD a unit, `seconds` an hour of them. A number finer than that (float dust at the
source, like 0.18000000000000002) is rounded half to even. The same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from spendgate.tokens.bound import FAMILIES, Family

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "scripts" / "price_sources"
CATALOGUE = ROOT / "src" / "spendgate" / "pricing" / "catalogue.json"
CHECKED = "2026-11-24"
"""The day on which the sources were last looked at: the catalogue's age counts from it."""
LITELLM = "litellm==1.106.2"
LITELLM_JSON = "litellm/model_prices_and_context_window_backup.json"

PROVIDERS = (
    "openai", "anthropic", "google", "mistral", "cohere", "deepseek", "x-ai", "moonshotai", "zai", "minimax",
    "meta", "perplexity", "voyageai",
    "azure", "aws", "groq", "together", "fireworks", "cerebras", "openrouter", "databricks", "cloudflare",
    "baseten", "novita", "ovhcloud",
)  # fmt: skip
"""Those that sell their own models first, then those that host them; the order of lookups by name alone."""

MTOK, KILO, HOUR = Decimal(10**6), Decimal(10**9), Decimal(10**12)
UNITS = {
    "input_mtok": ("input", MTOK),
    "cache_read_mtok": ("cached_input", MTOK),
    "cache_write_mtok": ("cache_write_5m", MTOK),
    "cache_write_1h_mtok": ("cache_write_1h", MTOK),
    "output_mtok": ("output", MTOK),
    "output_reasoning_mtok": ("reasoning", MTOK),
    "input_audio_mtok": ("input_audio", MTOK),
    "output_audio_mtok": ("output_audio", MTOK),
    "input_image_mtok": ("input_image", MTOK),
    "output_image_mtok": ("output_image", MTOK),
    "input_video_mtok": ("input_video", MTOK),
    "input_mchars": ("characters", MTOK),
    "web_searches_kcount": ("searches", KILO),
    "storage_searches_kcount": ("file_searches", KILO),
    "requests_kcount": ("requests", KILO),
    "audio_hours": ("seconds", HOUR),
    "input_audio_hours": ("seconds", HOUR),
}
"""(our kind, pico-USD a unit of ours for one USD at the source)."""

CAPABILITIES = {
    "supports_function_calling": "tools",
    "supports_vision": "images",
    "supports_audio_input": "audio",
    "supports_response_schema": "json_schema",
}
RESIDENCY = {
    "regional_processing_uplift_multiplier_eu": "eu",
    "regional_processing_uplift_multiplier_us": "us",
    "regional_endpoint_uplift_multiplier": "regional",
}
FACT_PREFIXES = {
    "openai": ("",), "anthropic": ("",), "google": ("vertex_ai/", "gemini/", ""), "azure": ("azure/",),
    "mistral": ("mistral/",), "cohere": ("", "cohere_chat/"), "deepseek": ("deepseek/",), "x-ai": ("xai/",),
    "groq": ("groq/",), "together": ("together_ai/",), "aws": ("",), "fireworks": ("fireworks_ai/",),
    "openrouter": ("openrouter/",), "moonshotai": ("moonshot/",), "perplexity": ("perplexity/",),
    "cerebras": ("cerebras/",), "zai": ("zai/",),
}  # fmt: skip

NO_OUTPUT = re.compile(r"(embed|voyage-|rerank|bge-|^e5-|/e5|/gte-|m2-bert|minilm|mpnet)", re.IGNORECASE)
"""Models that answer with no tokens. A text model that lacks its output price at the source stays without, and
its output is charged as unpriced."""

KNOWN_WELL = ("openai", "anthropic", "google")
"""Providers whose models' capabilities are complete at the source; elsewhere what is not said is unknown."""

RESPONSES_ONLY = re.compile(r"(-pro|-codex|codex-|deep-research)")
CHAT_ONLY = re.compile(r"-search-|audio|vision|^o1-(mini|preview)|-0301|-32k")
"""Models that OpenAI serves by chat completions alone."""
TEXT_MODEL = re.compile(r"^(gpt-|chatgpt-|ft:|o\d|codex-)")
NOT_TEXT = re.compile(r"(image|realtime|live|transcribe|tts|whisper|oss|moderation|instruct|:extended)")
UNWANTED = re.compile(r"(^gpt-4o(-mini)?-audio-preview$|\.ft-?$)")
"""The audio previews lack their audio rates at the source, 16 times the text rate: better unpriced than cheap.
The others are inventions of the source."""
NO_NAME = re.compile(r"-20\d\d-?$|^ft:gpt-4-0|\.ft-?$")
"""Beginnings of names that the source matches by."""
VERSION = re.compile(r"(-v\d+(:\d+)?|(-1)?:\d+)?$")
"""What Bedrock puts behind a model's name: `-v1:0`."""


def main() -> None:
    """Write the catalogue."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--facts", action="store_true", help=f"read the limits again, from {LITELLM}")
    if parser.parse_args().facts:
        (SOURCES / "facts.json").write_text(facts(), encoding="utf-8")
    CATALOGUE.write_text(build(), encoding="utf-8")
    print(f"{CATALOGUE.relative_to(ROOT)}: {CATALOGUE.stat().st_size} bytes", file=sys.stderr)


def build() -> str:
    """The catalogue's text."""
    from genai_prices.data import providers

    own = yaml.load((SOURCES / "own.yaml").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    known = json.loads((SOURCES / "facts.json").read_text(encoding="utf-8"))
    found = {p.id: p for p in providers}
    out: dict[str, Any] = {"": {"url": "", "models": {n: family(of) for n, of in own["families"].items()}}}
    for id_ in PROVIDERS:
        provider = found[id_]
        models: dict[str, Any] = {}
        for m in provider.models:
            entry = model(id_, m, known["models"].get(id_, {}))
            if entry is not None:
                models[name_of(id_, m.id)] = entry
        for name in own["free"].get(id_, ()):
            models[name] = {"prices": [["", {"input": 0, "output": 0}]]}
        for name, fees in own["fees"].get(id_, {}).items():
            models[name] = {"prices": [["", {k: each(k, v) for k, v in fees.items()}]]}
        drop_needless_names(models)
        listed: dict[str, Any] = {"url": (provider.pricing_urls or [""])[0]}
        if tiers := own["service_tiers"].get(id_):
            listed["tiers"] = tiers
        out[id_] = {**listed, "models": dict(sorted(models.items()))}
    head: dict[str, Any] = {
        "format": 1,
        "checked": CHECKED,
        "sources": [f"genai-prices {version('genai-prices')} (MIT)", f"{known['source']} (MIT)", "own.yaml"],
        "tokenizers": {name: tokenizer(family) for name, family in FAMILIES.items()},
    }
    return written(head, out)


def tokenizer(of: Family) -> dict[str, int]:
    """What bounds the tokens of a model: percent of the o200k count, and hidden tokens on top."""
    return {"percent": of.factor_percent, "hidden": of.overhead_plain, "hidden_with_tools": of.overhead_tools}


def written(head: dict[str, Any], providers: dict[str, Any]) -> str:
    """JSON with a line a model, so that a difference can be read."""
    lines = ["{" + json.dumps(head)[1:-1] + ', "providers": {']
    for id_, provider in providers.items():
        front = {k: v for k, v in provider.items() if k != "models"}
        lines.append(f"{json.dumps(id_)}: {{" + json.dumps(front)[1:-1] + ', "models": {')
        models = provider["models"].items()
        lines += [f" {json.dumps(n)}: {json.dumps(e, separators=(',', ':'))}," for n, e in models]
        lines[-1] = lines[-1].removesuffix(",")
        lines.append("}},")
    lines[-1] = "}}"
    return "\n".join([*lines, "}}"]) + "\n"


def name_of(provider: str, id_: str) -> str:
    """The name that a model is entered under."""
    name = id_.rstrip("-@")
    return VERSION.sub("", name) if provider == "aws" else name


def model(provider: str, m: Any, facts_of: dict[str, Any]) -> dict[str, Any] | None:
    """One model's entry; None where the source gives it no price at all."""
    name = name_of(provider, m.id)
    if UNWANTED.search(m.id):
        return None
    periods, hours = schedule(m.prices)
    if NO_OUTPUT.search(name):
        for period in periods:
            period[1].setdefault("output", 0)
    if not periods:
        if not m.id.endswith(":free"):
            return None
        periods = [["", {"input": 0, "output": 0}]]
    entry: dict[str, Any] = {"prices": periods}
    if hours:
        entry["hours"] = hours
    if tiers := service_tiers(m):
        entry["service"] = tiers
    names = {name_of(provider, n) for n in clauses(m.match)}
    raw = [m.id.rstrip("-@"), name, *clauses(m.match)]
    known = next((facts_of[n] for n in raw if n in facts_of), {})
    if "output" in known:
        entry["output"] = known["output"]
    if "can" in known and provider in KNOWN_WELL:
        entry["can"] = known["can"]
    if "residency" in known and provider != "aws":  # Bedrock's regions are models of their own at the source
        entry["residency"] = known["residency"]
    if m.context_window:
        entry["context"] = m.context_window
    if served := dialects(provider, name):
        entry["dialects"] = served
    entry["also"] = sorted(names - {name})
    return entry


def schedule(prices: Any) -> tuple[list[Any], list[Any]]:
    """(dated prices, prices by the hour of the day, which hold from the last date on)."""
    from genai_prices.types import StartDateConstraint, TimeOfDateConstraint

    listed = prices if isinstance(prices, list) else None
    periods, hours = [], []
    for start, of in [(None, prices)] if listed is None else [(p.constraint, p.prices) for p in listed]:
        priced = rates(of)
        if priced is None:
            continue
        if isinstance(start, TimeOfDateConstraint):
            a, b = (t.hour * 60 + t.minute for t in (start.start_time, start.end_time))
            hours.append([a, b, *priced])
        else:
            begins = str(start.start_date) if isinstance(start, StartDateConstraint) else ""
            periods.append([begins, *priced])
    return sorted(periods, key=lambda p: p[0]), hours


def service_tiers(m: Any) -> dict[str, list[Any]]:
    """The prices of other processing, by the word that asks for it: what they do not name stays standard."""
    out: dict[str, list[Any]] = {}
    for variant in m.price_variants or ():
        ((key, word),) = variant.when.items()
        if key not in ("processing", "service_tier", "speed") or word == "default":
            continue
        priced = rates(variant.prices)
        if priced is not None:
            begins = str(variant.constraint.start_date) if variant.constraint else ""
            out.setdefault(word, []).append([begins, *priced])
    return {word: sorted(periods, key=lambda p: p[0]) for word, periods in sorted(out.items())}


def rates(prices: Any) -> list[Any] | None:
    """[rates, tiers]; tiers left out where there are none. None: no kind of ours is priced."""
    base: dict[str, int] = {}
    tiers: dict[int, dict[str, int]] = {}
    for unit, value in prices.__dict__.items():
        if value is None or unit not in UNITS:
            continue
        kind, factor = UNITS[unit]
        if hasattr(value, "tiers"):
            base[kind] = pico(value.base, factor)
            for tier in value.tiers:
                tiers.setdefault(int(tier.start), {})[kind] = pico(tier.price, factor)
        else:
            base[kind] = pico(value, factor)
    if not base:
        return None
    return [base, [[start, of] for start, of in sorted(tiers.items())]] if tiers else [base]


def pico(usd: Decimal, factor: Decimal) -> int:
    return int((usd * factor).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def each(kind: str, usd: str) -> int:
    return pico(Decimal(usd), HOUR)


def clauses(clause: Any) -> list[str]:
    """The names that a match clause of the source stands for; patterns are left out."""
    for parts in ("or_", "and_"):
        if hasattr(clause, parts):
            return [n for part in getattr(clause, parts) for n in clauses(part)]
    if hasattr(clause, "equals"):
        return [clause.equals]
    if hasattr(clause, "starts_with"):
        return [] if NO_NAME.search(clause.starts_with) else [clause.starts_with.rstrip("-@")]
    return [clause.contains] if hasattr(clause, "contains") and "." in clause.contains else []


def dialects(provider: str, name: str) -> list[str]:
    """The wire formats that serve a model, where that is known."""
    if provider == "anthropic":
        return ["anthropic-*", "openai-chat"]
    if provider == "google":
        return ["anthropic-*"] if name.startswith("claude") else ["gemini*", "vertex*", "openai-chat"]
    if provider == "cohere":
        return ["cohere-*", "openai-chat"]
    if provider != "openai" or NOT_TEXT.search(name):
        return []
    if name.startswith("text-embedding"):
        return ["openai-embeddings"]
    if not TEXT_MODEL.match(name):
        return []
    if RESPONSES_ONLY.search(name):
        return ["openai-responses"]
    return ["openai-chat"] if CHAT_ONLY.search(name) else ["openai-chat", "openai-responses"]


DATED = re.compile(r"(-20\d\d-\d\d-\d\d|[-@]20\d{6}|-latest)$")


def drop_needless_names(models: dict[str, Any]) -> None:
    """Take out the names that the table finds by itself: without their date, or without -latest."""
    taken = set(models)
    for name, entry in models.items():
        kept = [a for a in entry.pop("also", []) if a not in taken and DATED.sub("", a) != name]
        undated = DATED.sub("", name)
        if undated != name and undated not in taken and undated not in kept:
            kept.append(undated)
        taken.update(kept)
        names = sorted(a for a in kept if DATED.sub("", a) == a or DATED.sub("", a) not in kept)
        if names:
            entry["also"] = names


def family(of: dict[str, Any]) -> dict[str, Any]:
    prices = {k: pico(Decimal(v), MTOK) for k, v in of.items() if k != "dialects"}
    return {"prices": [["", prices]], "dialects": of["dialects"]}


def facts() -> str:
    """Extract from litellm's list what genai-prices does not know of its models."""
    from genai_prices.data import providers

    with tempfile.TemporaryDirectory() as tmp:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", tmp, LITELLM]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        (wheel,) = Path(tmp).glob("litellm-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            listed = json.loads(archive.read(LITELLM_JSON))
    out: dict[str, dict[str, Any]] = {}
    for provider in providers:
        for m in provider.models:
            names = [m.id.rstrip("-@"), *clauses(m.match)]
            keys = [p + n for p in FACT_PREFIXES.get(provider.id, ()) for n in names]
            known = next((listed[k] for k in keys if k in listed), None)
            if known is not None and (fact := fact_of(known)):
                out.setdefault(provider.id, {})[names[0]] = fact
    head = json.dumps({"source": LITELLM.replace("==", " "), "read": str(date.today())})[1:-1]
    lines = [
        f"{json.dumps(p)}: {{\n"
        + ",\n".join(f" {json.dumps(n)}: {json.dumps(f)}" for n, f in of.items())
        + "}"
        for p, of in out.items()
    ]
    return "{" + head + ', "models": {\n' + ",\n".join(lines) + "}}\n"


def fact_of(known: dict[str, Any]) -> dict[str, Any]:
    fact: dict[str, Any] = {}
    if known.get("max_output_tokens"):
        fact["output"] = int(known["max_output_tokens"])
        fact["can"] = sorted(c for field, c in CAPABILITIES.items() if known.get(field))
    where = {place: known[field] for field, place in RESIDENCY.items() if field in known}
    entry = known.get("provider_specific_entry") or {}
    if "us" in entry:
        where["us"] = entry["us"]
    if where:
        fact["residency"] = {p: int(Decimal(str(x)) * 100) for p, x in sorted(where.items())}
    return fact


if __name__ == "__main__":
    main()
