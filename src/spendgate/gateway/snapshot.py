"""Everything an exchange decides by, as one immutable snapshot: a reload never changes a running exchange."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fnmatch import translate

from spendgate.budget.ask import DecisionSettings
from spendgate.budget.policy import Policy
from spendgate.gateway.config import Settings, Upstream
from spendgate.gateway.identity import Extractor
from spendgate.pricing.table import PriceTable


@dataclass(frozen=True, slots=True)
class Route:
    """One upstream as the exchange sees it: which models and dialects go there."""

    name: str
    models: tuple[re.Pattern[str], ...]
    dialects: frozenset[str]

    def serves(self, model: str, dialect: str) -> bool:
        """Can this upstream serve the model in the dialect? Empty lists mean all."""
        if self.dialects and dialect not in self.dialects:
            return False
        return not self.models or any(p.match(model) for p in self.models)


def routes_of(upstreams: tuple[Upstream, ...]) -> tuple[Route, ...]:
    """Compile the upstreams of the config."""
    return tuple(
        Route(u.name, tuple(re.compile(translate(m)) for m in u.models), frozenset(u.dialects))
        for u in upstreams
    )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Policy, prices, settings and routes of one moment."""

    policy: Policy
    prices: PriceTable
    settings: Settings
    extractors: tuple[Extractor, ...]
    routes: tuple[Route, ...]
    decision: DecisionSettings
    strip: tuple[str, ...] = ()
    """Headers taken off a metered request."""

    def with_extractors(self, extractors: tuple[Extractor, ...]) -> Snapshot:
        """The same, with other identity extractors (a dry run says itself who asks)."""
        return replace(self, extractors=extractors)

    def upstream_for(self, model: str, dialect: str) -> str:
        """Name of the first upstream that serves the model ("" where none is configured or none serves)."""
        for route in self.routes:
            if route.serves(model, dialect):
                return route.name
        return ""

    def servable(self, model: str, dialect: str, needs: frozenset[str], input_tokens: int) -> str:
        """ "" if the model can serve the request, else why not: `dialect`, `upstream` or `capability`.

        What the catalogue does not know is allowed (rule 14)."""
        price = self.prices.find(model)
        if price is not None:
            if price.dialects and dialect not in price.dialects:
                return "dialect"
            if price.capabilities is not None and not needs <= price.capabilities:
                return "capability"
            if price.context_tokens is not None and input_tokens > price.context_tokens:
                return "capability"
        if self.routes and not self.upstream_for(model, dialect):
            return "upstream"
        return ""


def snapshot(policy: Policy, prices: PriceTable, settings: Settings) -> Snapshot:
    """Put a snapshot together."""
    extractors = settings.extractors()
    strip = {"accept-encoding", "x-require-model", "x-llm-run"}
    if not settings.forward_identity_headers:
        strip |= {name for e in extractors for name in e.header_names}
    return Snapshot(
        policy=policy,
        prices=prices,
        settings=settings,
        extractors=extractors,
        routes=routes_of(settings.upstreams),
        decision=DecisionSettings(unbudgeted=settings.unbudgeted),
        strip=tuple(sorted(strip)),
    )
