"""Models' names: the forms of one name, the words of it, globs. Pure.

The same model goes by many names: with a date, `-latest` or a version, with its vendor's prefix, behind a
cloud's path or region. Each form here is one that a provider documents; a name that merely looks alike is
never taken for another, since it may cost ten times as much.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

VENDOR_PREFIXES: dict[str, str] = {
    "openai": "openai",
    "anthropic": "anthropic",
    "google": "google",
    "gemini": "google",
    "vertex_ai": "google",
    "mistral": "mistral",
    "mistralai": "mistral",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "x-ai": "x-ai",
    "xai": "x-ai",
    "moonshotai": "moonshotai",
    "z-ai": "zai",
    "minimax": "minimax",
    "perplexity": "perplexity",
}
"""`prefix/model` → the vendor whose model it is (OpenRouter, LiteLLM, OpenAI-compatible endpoints)."""

_PREFIX = re.compile(rf"^({'|'.join(map(re.escape, VENDOR_PREFIXES))})/")
_PATH = re.compile(r"^(?:projects/[^/]+/locations/[^/]+/)?(?:publishers/([^/]+)/)?models/")
_ARN = re.compile(r"^arn:aws[a-z-]*:bedrock:[^/]*/")
_REGION = re.compile(r"^(us-gov|us|eu|apac|ap|jp|au|ca|sa|me|af|il|mx)\.(?=[a-z0-9-]+\.)")
_BEDROCK_VERSION = re.compile(r"(-v\d+(:\d+(:\w+)?)?|(-1)?:\d+(:\w+)?)?$")
_BEDROCK_VENDOR = re.compile(
    r"^(?:global\.|regional\.)?(anthropic|cohere|openai|deepseek|mistral|moonshotai|zai)\."
)
_BEDROCK = re.compile(r"^([a-z-]+\.)?[a-z0-9-]+\.[a-z]")
_REVISION = re.compile(r"^(gemini-.*|text-embedding-|textembedding-.*)-00\d$")
_DATE = re.compile(r"(-20\d\d-[01]\d-[0-3]\d|[-@]20\d\d[01]\d[0-3]\d|-[01]\d-20\d\d)$")


def forms(model: str) -> Iterator[str]:
    """The names under which `model` may stand in a table, likeliest first.

    Itself; without a path (`models/gemini-2.5-pro`, `publishers/google/models/…`, a Bedrock ARN) and without
    its vendor's prefix (`openai/`); a fine-tuned model without its owner (`ft:gpt-4o:acme::id`); without its
    date (`-2024-08-06`, `-20250514`, `@20250514`, `-08-2024`), its revision (Gemini's `-001`),
    `@default` or `-latest`.
    """
    yield model
    undated = _DATE.sub("", model)
    name = _PREFIX.sub("", _PATH.sub("", _ARN.sub("", model)))
    if name != model:
        if undated != model:
            yield undated
        yield name
    if name.startswith("ft:") and name.count(":") > 1:
        name = ":".join(name.split(":", 2)[:2])
        yield name
    undated = _DATE.sub("", name.removesuffix("@default"))
    if undated != name:
        yield undated
    elif name.endswith("-latest"):
        yield name.removesuffix("-latest")
    elif _REVISION.match(name):
        yield name[:-4]


def bedrock_forms(model: str) -> Iterator[str]:
    """The names of a Bedrock model: a cross-region profile (`us.anthropic.…`) and the plain id are priced as
    `regional.`, `global.` as itself; then without the version (`-v1:0`) and the date."""
    name = _ARN.sub("", model)
    yield name
    name = _BEDROCK_VERSION.sub("", name, count=1)
    base = _REGION.sub("", name)
    undated = _DATE.sub("", base)
    if name.startswith("global."):
        yield from (name, undated)
        return
    yield from (f"regional.{base}", f"regional.{undated}", name, base, undated)


def bedrock_vendor(model: str) -> tuple[str, str]:
    """(vendor, the vendor's own name) of a Bedrock id, where Bedrock's id says it; else ("", "")."""
    name = _BEDROCK_VERSION.sub("", _REGION.sub("", _ARN.sub("", model)), count=1)
    found = _BEDROCK_VENDOR.match(name)
    return (found[1], name[found.end() :]) if found else ("", "")


def is_bedrock(model: str) -> bool:
    """Does the name look like a Bedrock id: `vendor.model`, perhaps behind a region or an ARN?"""
    return bool(_ARN.match(model) or _BEDROCK.match(model))


def vendor_of(model: str) -> str:
    """The vendor that a name's prefix or path names, `` where it names none."""
    if path := _PATH.match(model):
        return VENDOR_PREFIXES.get(path[1] or "google", "")
    prefix = _PREFIX.match(model)
    return VENDOR_PREFIXES[prefix[1]] if prefix else ""


def is_glob(name: str) -> bool:
    """Is this name of a price a pattern?"""
    return any(c in name for c in "*?[")


def literal_prefix(pattern: str) -> str:
    """The part of a glob before its first wildcard."""
    return re.split(r"[*?\[]", pattern, maxsplit=1)[0]


def family_of(model: str) -> str:
    """The first word of a model's name: `gpt`, `claude`, `o`, `llama`."""
    words = words_of(model)
    return words[0] if words else ""


def words_of(name: str) -> tuple[str, ...]:
    """A name's words and numbers, without its vendor's prefix."""
    return tuple(re.findall(r"\d+|[^\W\d_]+", _PREFIX.sub("", _PATH.sub("", name)).lower()))
