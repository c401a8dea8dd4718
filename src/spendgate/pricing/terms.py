"""The terms under which an exchange is priced, and negotiated discounts. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import translate
from functools import cached_property, lru_cache
from urllib.parse import urlsplit

from spendgate.pricing import names
from spendgate.values import dataclass

TOOLS = "mcp"
"""The provider of what has its price by server and tool."""
WHOLE = 10_000
"""Discounts are in hundredths of a percent of this whole."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a price depends on besides the model's name.

    `provider`: who serves it (`azure`, `groq`, …; `` where that is not known). `tier`: the service tier asked
    for, or served. `residency`: the place that the processing is bound to (`us`, `eu`, `regional`). `at_ms`:
    the moment that counts (UTC); None: the last prices known.
    """

    provider: str = ""
    tier: str = ""
    residency: str = ""
    at_ms: int | None = None


ANY = Terms()


@dataclass(frozen=True)
class Discount:
    """What an operator negotiated: so much less, for the models of a vendor or glob, from a day until another; or,
    below zero, what is charged internally beside what the provider bills: a markup.

    `basis_points` of the cost (1250 = 12.5 %). `since_ms` counts, `until_ms` no longer does; None: open.
    """

    basis_points: int
    provider: str = ""
    model: str = ""
    since_ms: int | None = None
    until_ms: int | None = None

    def holds(self, at_ms: int | None) -> bool:
        """Is it in force at this moment (None: the last that is known)?"""
        if at_ms is None:
            return self.until_ms is None
        return (self.since_ms is None or self.since_ms <= at_ms) and (
            self.until_ms is None or at_ms < self.until_ms
        )

    def covers(self, provider: str, model: str, entry: str) -> bool:
        """Is it for this model, by its own or its entry's name?"""
        if self.provider and provider != self.provider:
            return False
        return not self.model or any(self._pattern.match(n) for n in (model, entry))

    @property
    def specificity(self) -> tuple[int, int, int]:
        """The more specific of two discounts counts: a longer literal model first, then a vendor."""
        return len(names.literal_prefix(self.model)), len(self.model), bool(self.provider)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(translate(self.model))


def discount_at(discounts: Sequence[Discount], at_ms: int | None) -> tuple[int, int]:
    """The basis points in force of a discount and of a markup, of those that all cover the model: the most specific
    one's each, of equals the later listed one's. Discounts never add up, nor do markups."""
    found = [0, 0]
    for i, of in enumerate((True, False)):
        best: Discount | None = None
        for d in discounts:
            fits = (d.basis_points > 0) is of and d.holds(at_ms)
            if fits and (best is None or d.specificity >= best.specificity):
                best = d
        found[i] = abs(best.basis_points) if best is not None else 0
    return found[0], found[1]


_HOSTS: Mapping[str, str] = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "google",
    "aiplatform.googleapis.com": "google",
    "openai.azure.com": "azure",
    "cognitiveservices.azure.com": "azure",
    "services.ai.azure.com": "azure",
    "amazonaws.com": "aws",
    "api.aws": "aws",
    "api.mistral.ai": "mistral",
    "api.cohere.com": "cohere",
    "api.cohere.ai": "cohere",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.x.ai": "x-ai",
    "api.together.xyz": "together",
    "api.together.ai": "together",
    "openrouter.ai": "openrouter",
    "api.fireworks.ai": "fireworks",
    "api.cerebras.ai": "cerebras",
    "api.perplexity.ai": "perplexity",
    "api.moonshot.ai": "moonshotai",
    "api.moonshot.cn": "moonshotai",
    "api.z.ai": "zai",
    "api.minimax.io": "minimax",
    "api.voyageai.com": "voyageai",
    "cloud.databricks.com": "databricks",
    "azuredatabricks.net": "databricks",
    "api.cloudflare.com": "cloudflare",
    "inference.baseten.co": "baseten",
    "api.novita.ai": "novita",
    "endpoints.kepler.ai.cloud.ovh.net": "ovhcloud",
}
_LOCATION = re.compile(r"/locations/([a-z0-9-]+)/")
_OPENAI_PLACE = re.compile(r"^([a-z]{2})\.api\.openai\.com$")
_VERTEX_PLACE = re.compile(r"^[a-z0-9-]+-aiplatform\.googleapis\.com$")
REMEMBERED = 1024
"""Hosts and paths whose meaning is kept: nearly all requests go to the same few."""


@lru_cache(maxsize=REMEMBERED)
def provider_of_host(host: str) -> str:
    """Who answers at a host (a port does not matter), `` where it is none we know (a gateway's own name)."""
    host = host.rsplit("@", 1)[-1].partition(":")[0].lower().rstrip(".")
    if _VERTEX_PLACE.match(host):
        return "google"
    while host:
        if host in _HOSTS:
            return _HOSTS[host]
        host = host.partition(".")[2]
    return ""


def provider_under(pattern: str) -> str:
    """Who answers at a host, or at one that a wildcard (`*.openai.com`) takes; `` for none we know."""
    if not pattern.startswith("*."):
        return provider_of_host(pattern)
    below = (_HOSTS[host] for host in sorted(_HOSTS) if host.endswith(pattern[1:]))
    return next(below, "") or provider_of_host(pattern[2:])


def provider_of_url(url: str) -> str:
    """Who answers at an upstream's URL."""
    return provider_of_host(urlsplit(url).netloc)


@lru_cache(maxsize=REMEMBERED)
def provider_of_path(path: str) -> str:
    """Who a request must be for by its path alone, `` where many have such."""
    if "/openai/deployments/" in path:
        return "azure"
    return "google" if _LOCATION.search(path) else ""


@lru_cache(maxsize=REMEMBERED)
def residency_of(host: str, path: str) -> str:
    """The place that a request's address binds its processing to, `` where it is none: `us` or `eu` for
    OpenAI's regional hosts, `regional` for a Vertex location other than `global`."""
    host = host.partition(":")[0].lower()
    if place := _OPENAI_PLACE.match(host):
        return place[1]
    location = _LOCATION.search(path)
    return "regional" if location is not None and location[1] != "global" else ""
