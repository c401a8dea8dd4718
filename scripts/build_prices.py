"""Build src/spendgate/pricing/prices.yaml from published price data. Run it at release time, not at run time.

    python scripts/build_prices.py --at 2026-11-24 > src/spendgate/pricing/prices.yaml

Prices come from the package genai-prices (MIT; exact decimals, effective dates), longest answers and
capabilities from the JSON file in the package litellm (MIT). Both are installed or downloaded by pip into a
temporary directory, at the versions below.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

GENAI_PRICES = "genai-prices==0.2.3"
LITELLM = "litellm==1.106.2"
LITELLM_JSON = "litellm/model_prices_and_context_window_backup.json"

KINDS = {
    "input_mtok": "input",
    "cache_read_mtok": "cached_input",
    "cache_write_mtok": "cache_write_5m",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_mtok": "output",
    "input_audio_mtok": "input_audio",
    "output_audio_mtok": "output_audio",
    "input_image_mtok": "input_image",
    "output_image_mtok": "output_image",
    "web_searches_kcount": "searches",
}
CAPABILITIES = {
    "supports_function_calling": "tools",
    "supports_vision": "images",
    "supports_audio_input": "audio",
    "supports_response_schema": "json_schema",
}
WANTED = re.compile(r"^(claude-[^v]|gpt-|chatgpt-|ft:|o\d|codex-|text-embedding-)")
# The audio previews lack their audio rates at the source, 16 times the text rate: better unpriced than cheap.
UNWANTED = re.compile(
    r"(image|realtime|live|transcribe|tts|whisper|oss|moderation|instruct|audio-preview|\.ft|:extended)"
)
RESPONSES_ONLY = re.compile(r"(-pro|-codex|codex-|deep-research)")
CHAT_ONLY = re.compile(r"-search-|audio|vision|^o1-(mini|preview)|-0301|-32k")
"""Models that OpenAI serves by chat completions alone."""
DATED = re.compile(r"(-20\d\d-\d\d-\d\d|[-@]20\d{6}|-latest)$")

NO_NAME = re.compile(r"-20\d\d$|^ft:gpt-4-0$|\.ft$")
"""Beginnings of names that the source matches by, and its own inventions."""

SOURCE_TABLE = {
    "claude-opus": ("15.00", "75.00"),
    "claude-sonnet": ("3.00", "15.00"),
    "claude-haiku": ("0.25", "1.25"),
    "llama-3-70b": ("0.59", "0.79"),
    "llama-3-8b": ("0.05", "0.08"),
}
"""Family names that budgets are written with; no provider sells a model under them."""

EXPORT = """
import datetime, json, sys
from genai_prices.data import providers
from genai_prices.types import StartDateConstraint, TieredPrices, TimeOfDateConstraint

at = datetime.date.fromisoformat(sys.argv[1])

def clause(c):
    if hasattr(c, "or_"):
        return [x for part in c.or_ for x in clause(part)]
    if hasattr(c, "equals"):
        return [c.equals]
    return [c.starts_with.rstrip("-@")] if hasattr(c, "starts_with") else []

def rates(prices):
    base, tiers = {}, {}
    for unit, value in prices.__dict__.items():
        if isinstance(value, TieredPrices):
            base[unit] = str(value.base)
            for tier in value.tiers:
                tiers.setdefault(tier.start, {})[unit] = str(tier.price)
        elif value is not None:
            base[unit] = str(value)
    return {"base": base, "tiers": tiers}

out = {}
for provider in providers:
    if provider.id not in ("openai", "anthropic"):
        continue
    for m in provider.models:
        prices = m.prices
        if isinstance(prices, list):
            assert not any(isinstance(p.constraint, TimeOfDateConstraint) for p in prices), m.id
            prices = [p for p in prices if p.constraint is None or p.constraint.start_date <= at][-1].prices
        out[m.id] = {"names": clause(m.match), "context": m.context_window, **rates(prices)}
json.dump(out, sys.stdout)
"""


def main() -> None:
    """Write the price file to stdout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at", required=True, help="the day whose prices are taken, YYYY-MM-DD")
    at = parser.parse_args().at
    with tempfile.TemporaryDirectory() as tmp:
        models, litellm = genai_prices(Path(tmp), at), litellm_json(Path(tmp))
    print(f"# Prices in force on {at}, standard service tier, USD per million tokens (searches: USD each).")
    print(f"# Made by scripts/build_prices.py from {GENAI_PRICES} and {LITELLM} (both MIT). Do not edit:")
    print("# an operator's own prices go into a file given to --prices.")
    print("models:")
    entries = dict(line for name, of in models.items() if (line := entry(name, of, litellm)))
    drop_needless_aliases(entries)
    for name, (i, o) in SOURCE_TABLE.items():
        dialects = ["openai-chat"] if name.startswith("llama") else ["anthropic-messages", "openai-chat"]
        entries[name] = {"input": i, "output": o, "dialects": dialects}
    for name in sorted(entries):
        print(f"  {json.dumps(name)}: {flow(entries[name])}")


def genai_prices(tmp: Path, at: str) -> dict:
    """Install genai-prices into a throw-away environment and let it print its models."""
    venv.create(tmp / "env", with_pip=True)
    python = tmp / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", GENAI_PRICES], check=True, stdout=sys.stderr)
    done = subprocess.run([python, "-c", EXPORT, at], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def litellm_json(tmp: Path) -> dict:
    """Read litellm's model list out of its wheel, without installing it."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(tmp), LITELLM]
    subprocess.run(pip, check=True, stdout=sys.stderr)
    (wheel,) = tmp.glob("litellm-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return json.loads(archive.read(LITELLM_JSON))


def entry(model: str, of: dict, litellm: dict) -> tuple[str, dict] | None:
    """One model's line, or None where it is no text model or has no price."""
    if not WANTED.match(model) or UNWANTED.search(model) or "input_mtok" not in of["base"]:
        return None
    name = model.rstrip("-")
    line: dict = rates(of["base"])
    line.setdefault("output", "0")
    line["tiers"] = [
        {"above_input_tokens": int(start), **rates(prices)} for start, prices in sorted(of["tiers"].items())
    ]
    known = next((litellm[n] for n in (name, *of["names"]) if n in litellm), None)
    if known and known.get("max_output_tokens"):
        line["max_output_tokens"] = known["max_output_tokens"]
        line["capabilities"] = sorted(c for field, c in CAPABILITIES.items() if known.get(field))
    line["context_tokens"] = of["context"]
    line["dialects"] = dialects(name)
    line["aliases"] = sorted({n for n in of["names"] if n != name and not NO_NAME.search(n)})
    return name, {k: v for k, v in line.items() if v not in (None, []) or k == "capabilities"}


def rates(prices: dict) -> dict:
    """Kinds by our names; a search is priced per thousand at the source, each here."""
    named = {kind: prices[unit] for unit, kind in KINDS.items() if unit in prices}
    if "searches" in named:
        named["searches"] = f"{int(named['searches']) / 1000:.3f}"
    return named


def dialects(name: str) -> list[str]:
    """The wire formats that serve a model. Anthropic also has an endpoint in OpenAI's format."""
    if name.startswith("claude"):
        return ["anthropic-messages", "openai-chat"]
    if name.startswith("text-embedding"):
        return ["openai-embeddings"]
    if RESPONSES_ONLY.search(name):
        return ["openai-responses"]
    return ["openai-chat"] if CHAT_ONLY.search(name) else ["openai-chat", "openai-responses"]


def drop_needless_aliases(entries: dict[str, dict]) -> None:
    """Take out the names that the table finds by itself: without their date, or without -latest."""
    taken = set(entries)
    for name, line in entries.items():
        kept = [a for a in line.get("aliases", []) if a not in taken and DATED.sub("", a) != name]
        undated = DATED.sub("", name)
        if undated != name and undated not in taken and undated not in kept:
            kept.append(undated)
        taken.update(kept)
        line["aliases"] = sorted(a for a in kept if DATED.sub("", a) == a or DATED.sub("", a) not in kept)
        if not line["aliases"]:
            del line["aliases"]


def flow(value: object) -> str:
    """YAML flow style, one line, numbers as they are written at the source."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(v) for v in value) + "]"
    return json.dumps(value) if isinstance(value, str) and not re.fullmatch(r"[\d.]+", value) else str(value)


if __name__ == "__main__":
    main()
