"""Everything an exchange decides by, as one immutable snapshot: a reload never changes a running exchange."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field, replace
from fnmatch import translate
from typing import TypeVar
from urllib.parse import urlsplit

from spendgate.budget.ask import DecisionSettings
from spendgate.budget.frame import Frame, frame_of
from spendgate.budget.policy import Policy
from spendgate.dialects import registry
from spendgate.dialects.request.texts import NO_MODEL
from spendgate.exchange.learned import Place
from spendgate.exchange.quote import Offer, offer_of
from spendgate.identity import headers as h
from spendgate.identity.api_keys import KeyRing
from spendgate.identity.extractors import HeaderExtractor
from spendgate.identity.identity import Caller, Extractor
from spendgate.identity.tags import TagSource
from spendgate.pricing.catalogue import builtin
from spendgate.pricing.table import PriceTable
from spendgate.pricing.terms import (
    TOOLS,
    Terms,
    provider_of_host,
    provider_of_path,
    provider_of_url,
    residency_of,
)
from spendgate.settings.config import Settings, Upstream, default_upstream
from spendgate.values import dataclass


@dataclass(frozen=True, slots=True)
class Route:
    """One upstream as the exchange sees it: which models and dialects go there."""

    name: str
    models: tuple[re.Pattern[str], ...]
    dialects: frozenset[str]
    provider: str = ""
    """Whose prices count, `` where that is not known."""
    host: str = ""
    residency: str = ""
    default_model: str = ""
    """What answers a request that names no model, `` where that is not known."""
    asks_usage: bool = True
    """Is a stream's usage asked for on the client's behalf?"""

    def serves(self, model: str, dialect: str) -> bool:
        """Can this upstream serve the model in the dialect? Empty lists mean all."""
        if self.dialects and dialect not in self.dialects:
            return False
        return not self.models or any(p.match(model) for p in self.models)


def routes_of(upstreams: tuple[Upstream, ...]) -> tuple[Route, ...]:
    """Compile the upstreams of the config."""
    return tuple(
        Route(
            u.name,
            tuple(re.compile(translate(m)) for m in u.models),
            frozenset(u.dialects),
            u.provider or provider_of_url(u.url) or provider_of_host(u.authority),
            u.authority or urlsplit(u.url).netloc,
            u.residency,
            u.default_model,
            u.stream_usage == "ask",
        )
        for u in upstreams
    )


@dataclass(frozen=True, slots=True)
class Address:
    """Where a request is sent: its dialect, its path, and the host that the client named (`:authority`)."""

    dialect: str
    path: str = ""
    host: str = ""

    @property
    def provider(self) -> str:
        """Who must be meant by the path or the dialect alone, `` where many have it."""
        return provider_of_path(self.path) or registry.provider_of(self.dialect)


KEPT_MAX = 4096
"""So many of a kind are kept; names of apps, models, hosts and paths are made up by clients, too."""
KEY_CHARACTERS_MAX = 1024
"""What is longer is not kept, so that a client cannot fill the memory with it."""
FrameKey = tuple[str, str, str]
OfferKey = tuple[str, str, str, str]
_K = TypeVar("_K", bound=tuple[str, ...])
_V = TypeVar("_V")


def keep(kept: dict[_K, _V], key: _K, made: _V) -> _V:
    """Keep what was worked out."""
    if sum(map(len, key)) > KEY_CHARACTERS_MAX:
        return made
    if len(kept) >= KEPT_MAX:
        kept.clear()
    kept[key] = made
    return made


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
    default_route: str = ""
    """Name of the upstream for what none serves."""
    tags: tuple[TagSource, ...] = ()
    _frames: dict[FrameKey, Frame] = field(default_factory=dict, init=False, compare=False, repr=False)
    """By team, app and model."""
    _offers: dict[OfferKey, Offer] = field(default_factory=dict, init=False, compare=False, repr=False)
    """By model, dialect, host and path."""
    _sold: dict[OfferKey, tuple[str, str]] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )
    """By whom, and in which place, by the same."""
    _routed: dict[tuple[str, str], Route | None] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )
    """By model and dialect."""
    _default: Route | None = field(init=False, compare=False, repr=False)
    _doubted: tuple[HeaderExtractor, ...] = field(init=False, compare=False, repr=False)
    """Those of the extractors that do not believe everybody's headers."""

    def __post_init__(self) -> None:
        """Find what every request asks for."""
        doubted = (e for e in self.extractors if isinstance(e, HeaderExtractor) and e.trusted)
        object.__setattr__(self, "_doubted", tuple(doubted))
        default = next((r for r in self.routes if r.name == self.default_route), None)
        object.__setattr__(self, "_default", default)

    def with_extractors(self, extractors: tuple[Extractor, ...]) -> Snapshot:
        """The same, with other identity extractors (a dry run says itself who asks)."""
        return replace(self, extractors=extractors)

    def upstream_for(self, model: str, dialect: str) -> str:
        """Name of the first upstream that serves the model ("" where none is configured or none serves)."""
        route = self._route(model, dialect)
        return route.name if route is not None else ""

    def terms(
        self, model: str, address: Address, at_ms: int | None, tier: str = "", residency: str = ""
    ) -> Terms:
        """The terms that the model is priced under when it is sent to this address. Who serves it: the
        upstream's provider, else the host's, else the dialect's, `` where none of them tells."""
        if address.dialect == TOOLS:
            return Terms(TOOLS, at_ms=at_ms)
        key = (model, address.dialect, address.host, address.path)
        sold = self._sold.get(key)
        if sold is None:
            sold = keep(self._sold, key, self._sold_by(model, address))
        return Terms(sold[0], tier, residency or sold[1], at_ms)

    def _sold_by(self, model: str, address: Address) -> tuple[str, str]:
        """Who serves the model at this address, and the place that the address binds it to."""
        route = self._route(model, address.dialect) or self._default
        host = route.host if route is not None else address.host
        provider = route.provider if route is not None else provider_of_host(host)
        place = route.residency if route is not None else ""
        return provider or address.provider, place or residency_of(host, address.path)

    def frame(self, team: str, app: str, model: str, now_ms: int) -> Frame | None:
        """What of a plan follows from the policy alone, kept; None where it is not all that counts."""
        policy = self.policy
        budget = policy.budget(team)
        if budget is None:
            return None
        groups = policy.groups_of(team)
        # what clients make up is no part of the key where no budget asks for it
        whose = app if groups or budget.knows_apps else ""
        key = (team, whose, model if groups or budget.knows_models else "")
        frame = self._frames.get(key)
        if frame is not None and frame.since_ms <= now_ms < frame.until_ms:
            return frame
        frame = frame_of(budget, groups, app, model, self.prices.known_as, now_ms, self.decision)
        return None if frame is None else keep(self._frames, key, frame)

    def offer(self, model: str, address: Address, now_ms: int) -> Offer | None:
        """What a model is sold at when it is sent to this address, kept; None where it has no price of its own."""
        key = (model, address.dialect, address.host, address.path)
        offer = self._offers.get(key)
        if offer is not None and offer.since_ms <= now_ms < offer.until_ms:
            return offer
        terms, most = self.terms(model, address, now_ms), self.settings.assumed_output_tokens
        offer = offer_of(self.prices, model, terms, most, now_ms)
        return None if offer is None else keep(self._offers, key, offer)

    def tool_servers(self, target: str, host: str) -> tuple[str, ...]:
        """By which names the server of MCP tools at this target is priced: its upstream's, then its host's. Only MCP's
        own path leads to an upstream without a prefix; others lead where all else goes."""
        there = (u.name for u in self.settings.upstreams if TOOLS in u.dialects and not u.strip_prefix)
        is_own_path = registry.by_name(TOOLS).matches("POST", target.partition("?")[0], "")
        plain = next(there, self.default_route) if is_own_path else self.default_route
        prefixed = self.tool_upstream(target)
        own = prefixed.name if prefixed is not None else plain
        host = host.lower()
        return tuple(dict.fromkeys(n for n in (own, host, host.rpartition(":")[0] or host) if n))

    def tool_upstream(self, target: str) -> Upstream | None:
        """The upstream for MCP below whose prefix a target is."""
        for upstream in self.settings.upstreams:
            prefix = upstream.strip_prefix if TOOLS in upstream.dialects else ""
            if prefix and target.startswith(f"{prefix}/"):
                return upstream
        return None

    def without_prefix(self, target: str) -> str:
        """A target less the prefix that its upstream takes off: the path that the provider sees."""
        for upstream in self.settings.upstreams:
            if upstream.strip_prefix and target.startswith(f"{upstream.strip_prefix}/"):
                return target[len(upstream.strip_prefix) :]
        return target

    def default_model(self, dialect: str) -> str:
        """The model that answers where a request names none, `` where that is not known."""
        route = self._route(NO_MODEL, dialect) or self._default
        return route.default_model if route is not None else ""

    def provider(self, model: str, dialect: str, host: str) -> str:
        """Who serves a model: the upstream's provider, without upstreams that of the host that the client names;
        `` where that is not known."""
        route = self._route(model, dialect) or self._default
        return route.provider if route is not None else provider_of_host(host)

    def seller(self, model: str, address: Address, at_ms: int | None) -> str:
        """Whose a model's limits are: who serves it, else who makes it, `` where neither is known."""
        if provider := self.terms(model, address, at_ms).provider:
            return provider
        entry = builtin().find(model.strip().lower()) if model else None
        return entry.facts.provider if entry is not None else ""

    def place(self, model: str, address: Address) -> Place:
        """Who is asked under this name, for what answers teach."""
        route = self._route(model, address.dialect) or self._default
        if route is None:
            host = address.host.lower()
            provider = provider_of_host(host) or address.provider
            return Place("", provider, host, model)
        provider = route.provider or address.provider
        return Place(route.name, provider, route.host, model)

    def asks_usage(self, model: str, dialect: str) -> bool:
        """May its upstream be asked for the usage of a stream?"""
        route = self._route(model, dialect) or self._default
        return route is None or route.asks_usage

    def _route(self, model: str, dialect: str) -> Route | None:
        """The first that serves the model in the dialect."""
        if not self.routes:
            return None
        try:
            return self._routed[model, dialect]
        except KeyError:
            found = next((r for r in self.routes if r.serves(model, dialect)), None)
        return keep(self._routed, (model, dialect), found)

    def strip_of(self, caller: Caller) -> tuple[str, ...]:
        """Headers to take off this caller's metered request: those of identity too that it may not set."""
        forged = [e.header_names for e in self._doubted if not e.trusts(caller)] if self._doubted else None
        if not forged:
            return self.strip
        more = frozenset[str]().union(*forged) - set(self.strip)
        return (*self.strip, *sorted(more)) if more else self.strip

    def goes_to(self, model: str, dialect: str) -> str:
        """Name of the upstream that gets a request: one that serves the model, else the default one ("" without
        any)."""
        if not self.routes:
            return self.default_route
        if dialect == TOOLS:
            server = model.partition("/")[0]
            return server if any(r.name == server for r in self.routes) else self.default_route
        return self.upstream_for(model, dialect) or self.default_route

    def servable(self, model: str, dialect: str, needs: frozenset[str], input_tokens: int) -> str:
        """ "" if the model can serve the request, else why not: `dialect`, `upstream` or `capability`.

        What the catalogue does not know is allowed (rule 14)."""
        route = self._route(model, dialect)
        price = self.prices.find(model, Terms(route.provider if route is not None else ""))
        if price is not None:
            if not price.serves(dialect):
                return "dialect"
            if price.capabilities is not None and not needs <= price.capabilities:
                return "capability"
            if price.context_tokens is not None and input_tokens > price.context_tokens:
                return "capability"
        if self.routes and route is None:
            return "upstream"
        return ""


def snapshot(
    policy: Policy, prices: PriceTable, settings: Settings, rings: Mapping[str, KeyRing] | None = None
) -> Snapshot:
    """Put a snapshot together. `rings`: the API keys of each file that the settings name."""
    default = default_upstream(settings.upstreams)
    strip = {"accept-encoding", h.REQUIRE_MODEL, h.RUN, *settings.stripped_identity(verified=True)}
    return Snapshot(
        policy=policy,
        prices=prices.warm(),
        settings=settings,
        extractors=settings.extractors(rings),
        routes=routes_of(settings.upstreams),
        decision=DecisionSettings(unbudgeted=settings.unbudgeted),
        strip=tuple(sorted(strip)),
        default_route=default.name if default is not None else "",
        tags=settings.tag_sources(),
    )
