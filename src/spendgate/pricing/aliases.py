"""All names of one model, for rules that are written with one of them. Pure.

A limit that another spelling passes is none: what holds for `claude-opus*` holds for `anthropic/claude-opus-4-1`, for
`us.anthropic.claude-opus-4-1-20250805-v1:0`, for `models/…` and an ARN, in any case, with blanks and with a router's
suffix. Prices are stricter (`pricing.names.forms`): there, a name that merely looks alike is never taken for another.
"""

from __future__ import annotations

import re
from functools import lru_cache

from spendgate.pricing import names
from spendgate.pricing.catalogue import FAMILIES, HOSTS, builtin

NAMES_MAX = 64
"""So many names of one model are looked at; the likeliest come first."""

_BLANK = re.compile(r"[\x00-\x20\x7f-\xa0\u200b-\u200f\u2028\u2029\ufeff]+")
_SUFFIX = re.compile(r":(free|nitro|floor|online|extended|thinking|beta|exacto|latest|fast)$")
"""OpenRouter's variants of one model, and Ollama's default tag."""
_PREFIXES: dict[str, tuple[str, ...]] = {}
for _prefix, _vendor in names.VENDOR_PREFIXES.items():
    _PREFIXES[_vendor] = (*_PREFIXES.get(_vendor, ()), _prefix)


@lru_cache(maxsize=4096)
def bare(model: str) -> str:
    """A name without what is no part of it: blanks, case, path, vendor, a router's mark and suffix. Two names with the
    same bare name are one model spelled in two ways; a date stays, since it pins one."""
    name = _BLANK.sub("", model).lower().lstrip("~")
    name = _SUFFIX.sub("", name)
    if names.is_bedrock(name):
        return names.bedrock_vendor(name)[1] or name.rpartition("/")[2]
    return name.rpartition("/")[2]


@lru_cache(maxsize=4096)
def known_as(model: str) -> tuple[str, ...]:
    """The names that a model is known by: its own first, then its bare name's forms, those of the catalogue's entry,
    and each behind its vendor's prefixes."""
    found = dict.fromkeys((model, _BLANK.sub("", model)))
    for name in (*found, bare(model)):
        low = name.lower()
        found.update(dict.fromkeys((low, *names.forms(low), _SUFFIX.sub("", low).lstrip("~"))))
        if names.is_bedrock(low):
            found.update(dict.fromkeys(names.bedrock_forms(low)))
            found[names.bedrock_vendor(low)[1]] = None
    for name in list(found):
        found.update(dict.fromkeys(names.forms(name.rpartition("/")[2])))
    vendors = _listed(found)
    for vendor in vendors:
        for prefix in _PREFIXES.get(vendor, ()):
            found.update(dict.fromkeys(f"{prefix}/{name}" for name in list(found) if "/" not in name))
    found.pop("", None)
    return tuple(found)[:NAMES_MAX]


def _listed(found: dict[str, None]) -> tuple[str, ...]:
    """Add the names of the catalogue's entry for any of these: its own, and those that are made of the same words (a
    search preview is sold as the plain model, but is another one). Returns the vendors that sell it."""
    catalogue = builtin()
    vendors: dict[str, None] = {}
    for name in list(found):
        entry = catalogue.find(name) if name else None
        if entry is None:
            continue
        provider, own = entry.facts.provider, entry.facts.model
        found.update(dict.fromkeys((own, own.rpartition("/")[2])))
        if provider not in HOSTS and provider != FAMILIES:
            words = sorted(names.words_of(own))
            also = (n for n in catalogue.also(provider, own) if sorted(names.words_of(n)) == words)
            found.update(dict.fromkeys(also))
            vendors[provider] = None
    return tuple(vendors)


@lru_cache(maxsize=4096)
def same(one: str, other: str) -> bool:
    """Do two names stand for one model, however each is spelled?"""
    return one == other or bare(one) == bare(other) or other in known_as(one) or one in known_as(other)
