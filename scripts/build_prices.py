"""Build src/spendgate/pricing/catalogue.json from published price data. Run it at release time.

    python scripts/build_prices.py                       # writes the catalogue again
    python scripts/build_prices.py --facts               # takes the extract of litellm's list again first

Three sources, all in the repository or pinned:

- prices: the package `genai-prices` (MIT) at the version of pyproject.toml's extra `check`: exact decimals,
  effective dates, tiers by context, cache kinds, service tiers;
- an extract of the list in the package `litellm` (MIT), `price_sources/litellm.json`, refreshed by `--facts`: what
  genai-prices lacks (models, service tiers, fees, context tiers, residency surcharges, limits, capabilities);
- `price_sources/own.yaml`: our own additions, each with its reason.

Numbers become integers: pico-USD a unit, `seconds` an hour of them. A number finer than that (float dust at the
source, like 0.18000000000000002) is rounded half to even. The same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from spendgate.pricing import names
from spendgate.pricing.price import FEES
from spendgate.tokens.bound import FAMILIES, Family

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "scripts" / "price_sources"
CATALOGUE = ROOT / "src" / "spendgate" / "pricing" / "catalogue.json"
CHECKED = "2026-11-29"
"""The day on which the sources were last looked at: the catalogue's age counts from it."""
PROVIDERS = (
    "openai", "anthropic", "google", "mistral", "cohere", "deepseek", "x-ai", "moonshotai", "zai", "minimax",
    "meta", "perplexity", "voyageai",
    "azure", "aws", "groq", "together", "fireworks", "cerebras", "openrouter", "databricks", "cloudflare",
    "baseten", "novita", "ovhcloud", "deepinfra", "alibaba",
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

URLS = {
    "deepinfra": "https://deepinfra.com/pricing",
    "alibaba": "https://www.alibabacloud.com/help/en/model-studio/models",
}
"""Where providers publish their prices that genai-prices does not have."""
FILLED = {
    "openai": "", "anthropic": "", "google": "", "azure": "", "mistral": "",
    "cohere": "", "deepseek": "", "x-ai": "", "groq": "", "aws": "", "moonshotai": "", "perplexity": "", "zai": "",
    "deepinfra": "", "alibaba": "",
}  # fmt: skip
"""Providers whose models are taken from litellm where genai-prices lacks them: what the name begins with."""

ROUTER = re.compile(r"model[-_]router")
"""What is priced by its fee alone: the model that it chooses comes on top."""
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
    parser.add_argument("--facts", action="store_true", help="take the extract of litellm's list again")
    if parser.parse_args().facts:
        from price_litellm import extract

        (SOURCES / "litellm.json").write_text(extract(), encoding="utf-8")
    CATALOGUE.write_text(build(), encoding="utf-8")
    print(f"{CATALOGUE.relative_to(ROOT)}: {CATALOGUE.stat().st_size} bytes", file=sys.stderr)


def build() -> str:
    """The catalogue's text."""
    from genai_prices.data import providers

    own = yaml.load((SOURCES / "own.yaml").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    known = json.loads((SOURCES / "litellm.json").read_text(encoding="utf-8"))
    found = {p.id: p for p in providers}
    out: dict[str, Any] = {"": {"url": "", "models": {n: family(of) for n, of in own["families"].items()}}}
    for id_ in PROVIDERS:
        provider, listed_there = found.get(id_), known["models"].get(id_, {})
        models: dict[str, Any] = {}
        for m in provider.models if provider is not None else ():
            entry = model(id_, m, listed_there)
            if entry is not None:
                models[name_of(id_, m.id)] = entry
        if id_ in FILLED:
            fill(id_, models, listed_there, provider)
        own_fees(id_, models, own)
        own_prices(id_, models, own)
        for entry in models.values():
            spread_long_writes(entry)
        drop_needless_names(models, frozenset(own["prices"].get(id_, ())))
        listed: dict[str, Any] = {
            "url": (provider.pricing_urls or [""])[0] if provider is not None else URLS[id_]
        }
        if tiers := own["service_tiers"].get(id_):
            listed["tiers"] = tiers
        if routers := own["routers"].get(id_):
            listed["routers"] = {name: pico(Decimal(usd), MTOK) for name, usd in routers.items()}
        out[id_] = {**listed, "models": dict(sorted(models.items()))}
    head: dict[str, Any] = {
        "format": 1,
        "checked": CHECKED,
        "sources": [f"genai-prices {version('genai-prices')} (MIT)", f"{known['source']} (MIT)", "own.yaml"],
        "tokenizers": {name: tokenizer(family) for name, family in FAMILIES.items()},
    }
    return written(head, out)


def own_fees(provider: str, models: dict[str, Any], own: dict[str, Any]) -> None:
    """What own.yaml says is free, what each use costs beside tokens, and the least that is billed."""
    for name in own["free"].get(provider, ()):
        models[name] = {"prices": [["", {"input": 0, "output": 0}]]}
    if common := own["provider_fees"].get(provider):
        priced_each = {kind: each(kind, usd) for kind, usd in common.items()}
        for entry in models.values():
            for period in entry["prices"]:
                if period[1].get("output"):
                    period[1].update(priced_each)
    for name, least in own["minimum"].get(provider, {}).items():
        models[name]["minimum"] = {kind: int(n) for kind, n in least.items()}
    for name, fees in own["fees"].get(provider, {}).items():
        for period in models.setdefault(name, {"prices": [["", {}]]})["prices"]:
            period[1].update({k: each(k, v) for k, v in fees.items()})


def own_prices(provider: str, models: dict[str, Any], own: dict[str, Any]) -> None:
    """What own.yaml states anew: prices, those of tiers and places, and until when they hold."""
    for name, of in own["prices"].get(provider, {}).items():
        entry = models.setdefault(name, {})
        entry.pop("hours", None)  # of the price that is stated anew
        entry.update(stated(of))
    for name, words in own["service"].get(provider, {}).items():
        models[name].setdefault("service", {}).update(service_of(words))
    for name, day in own["provisional"].get(provider, {}).items():
        models[name]["provisional"] = day
    for pattern, places in own["residency"].get(provider, {}).items():
        for name, entry in models.items():
            if re.match(pattern, name):
                stated_there = {p: int(n) for p, n in places.items()}
                entry["residency"] = {**stated_there, **entry.get("residency", {})}


def spread_long_writes(entry: dict[str, Any]) -> None:
    """Where a list prices writes that are kept for long, at the standard price and context alone: everywhere, as often
    the price of a write for minutes as there (litellm's list has each; all are twice it)."""
    base = entry["prices"][-1][1]
    if not base.get("cache_write_12h") or not base.get("cache_write_5m"):
        return
    times = Fraction(base["cache_write_12h"], base["cache_write_5m"])
    periods = [*entry["prices"], *(p for of in entry.get("service", {}).values() for p in of)]
    for period in periods:
        for of in (period[1], *(tier[1] for tier in (period[2] if len(period) > 2 else ()))):
            if "cache_write_5m" in of:
                of["cache_write_12h"] = int(of["cache_write_5m"] * times)


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


def model(provider: str, m: Any, listed: dict[str, Any]) -> dict[str, Any] | None:
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
    others = {name_of(provider, n) for n in clauses(m.match)}
    raw = [m.id.rstrip("-@"), name, *clauses(m.match)]
    known = next((of for n in raw if (of := listed.get(n)) is not None), {})
    add_known(provider, entry, known)
    if m.context_window:
        entry["context"] = m.context_window
    if served := dialects(provider, name):
        entry["dialects"] = served
    entry["also"] = sorted(others - {name})
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


NOT_RATES = frozenset({"tiers", "context", "output_max", "also", "dialects"})
DATED = re.compile(r"(-20\d\d-\d\d-\d\d|[-@]20\d{6}|-latest)$")


def drop_needless_names(models: dict[str, Any], own: frozenset[str]) -> None:
    """Take out the names that the table finds by itself: without their date, or without -latest; and those that are a
    dated one of a model that we state ourselves."""
    taken = set(models)
    for name, entry in models.items():
        found_anyway = own | {name}
        kept = [a for a in entry.pop("also", []) if a not in taken and DATED.sub("", a) not in found_anyway]
        undated = DATED.sub("", name)
        if undated != name and undated not in taken and undated not in kept:
            kept.append(undated)
        taken.update(kept)
        others = sorted(a for a in kept if DATED.sub("", a) == a or DATED.sub("", a) not in kept)
        if others:
            entry["also"] = others


def family(of: dict[str, Any]) -> dict[str, Any]:
    prices = {k: pico(Decimal(v), MTOK) for k, v in of.items() if k != "dialects"}
    return {"prices": [["", prices]], "dialects": of["dialects"]}


def add_known(provider: str, entry: dict[str, Any], known: dict[str, Any]) -> None:
    """Lay what litellm knows of a model under what its entry has. Prices are taken only where both agree on the
    standard one, be it by a factor (a region's surcharge)."""
    add_facts(provider, entry, known)
    last = entry["prices"][-1]
    for kind in sorted(FEES.intersection(known.get("rates", ()))):
        for period in entry["prices"]:
            period[1].setdefault(kind, known["rates"][kind])
    factor = agreed(last[1], known.get("rates", {}))
    if not factor:
        return
    for kind, rate in known["rates"].items():
        if kind not in FEES and kind not in last[1] and kind not in ("reasoning", "output", "cached_input"):
            last[1][kind] = scaled(rate, factor)
    if "tiers" in known and len(last) == 2:
        last.append(scaled_tiers(known["tiers"], factor))
    for word, (rates, *contexts) in known.get("service", {}).items():
        period = ["", scaled_all(rates, factor), *(scaled_tiers(tiers, factor) for tiers in contexts)]
        entry.setdefault("service", {}).setdefault(word, [period])
    if "service" in entry:
        entry["service"] = dict(sorted(entry["service"].items()))


def add_facts(provider: str, entry: dict[str, Any], known: dict[str, Any]) -> None:
    """The same for what is no price by the token."""
    for field in ("output", "context", "reasons"):
        if field in known:
            entry.setdefault(field, known[field])
    if "can" in known and provider in KNOWN_WELL:
        entry.setdefault("can", known["can"])
    if "residency" in known and provider != "aws":  # Bedrock's regions are models of their own at the source
        entry["residency"] = known["residency"]


REGIONAL = Fraction(11, 10)
"""What Bedrock's regional profiles cost, of the global price."""


def agreed(ours: dict[str, int], theirs: dict[str, int]) -> Fraction | None:
    """The factor between two standard prices, None where it is not one."""
    if not ours.get("input") or not theirs.get("input"):
        return None
    factor = Fraction(ours["input"], theirs["input"])
    same = ours.get("output", 0) == theirs.get("output", 0) * factor
    return factor if same and factor in (1, REGIONAL) else None


def scaled(rate: int, factor: Fraction) -> int:
    return round(rate * factor)


def scaled_all(rates: dict[str, int], factor: Fraction) -> dict[str, int]:
    return {k: scaled(r, factor) for k, r in rates.items()}


def scaled_tiers(tiers: list[Any], factor: Fraction) -> list[Any]:
    return [[above, scaled_all(rates, factor)] for above, rates in tiers]


def fill(provider: str, models: dict[str, Any], listed: dict[str, Any], source: Any) -> None:
    """Add litellm's models that the source lacks. A name with `-latest` is one of its own, since what it points to
    changes: it is no name of the model that is called so without."""
    taken = {n for name, e in models.items() for n in (name, *e["also"])}
    for theirs, known in sorted(listed.items()):
        name = name_of(provider, theirs)
        rates = known["rates"]
        if not re.match(FILLED[provider], name) or ROUTER.match(name) or not any(rates.values()):
            continue
        moving = name.endswith("-latest") and name not in models
        if name in taken and not moving:
            continue
        known_there = source.find_model(theirs) if source is not None and not DATED.search(name) else None
        if known_there is not None and name_of(provider, known_there.id) in models:
            continue  # by a pattern of the source
        forms = names.bedrock_forms(name) if provider == "aws" else names.forms(name)
        of = next((models[f] for f in forms if f in models), None)
        if of is not None and agreed(of["prices"][-1][1], rates) in (1, REGIONAL if provider == "aws" else 1):
            continue  # found by that form, at its price
        for other in models.values():
            if name in other["also"]:
                other["also"].remove(name)
        base = dict(rates)
        if NO_OUTPUT.search(name):
            base.setdefault("output", 0)
        entry: dict[str, Any] = {"prices": [["", base]], "also": []}
        add_known(provider, entry, known)
        if served := dialects(provider, name):
            entry["dialects"] = served
        models[name] = entry
        taken.add(name)


def service_of(words: dict[str, Any]) -> dict[str, Any]:
    return {w: [["", {k: pico(Decimal(v), MTOK) for k, v in rates.items()}]] for w, rates in words.items()}


def stated(of: dict[str, Any]) -> dict[str, Any]:
    """An entry of own.yaml: USD a million tokens (fees: USD each), `tiers` by input tokens, `context`, `output_max`."""
    rates = {k: pico(Decimal(v), HOUR if k in FEES else MTOK) for k, v in of.items() if k not in NOT_RATES}
    period: list[Any] = ["", rates]
    if "tiers" in of:
        tiers = of["tiers"].items()
        period.append([[int(above), {k: pico(Decimal(v), MTOK) for k, v in r.items()}] for above, r in tiers])
    entry: dict[str, Any] = {"prices": [period], "also": list(of.get("also", ()))}
    if "context" in of:
        entry["context"] = int(of["context"])
    if "output_max" in of:
        entry["output"] = int(of["output_max"])
    if "dialects" in of:
        entry["dialects"] = of["dialects"]
    return entry


if __name__ == "__main__":
    main()
