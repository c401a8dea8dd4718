"""The ways to identify a caller: mTLS principal, JWT claims, API key, plain headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field

from spendgate.identity.api_keys import ApiKey, KeyRing
from spendgate.identity.identity import Caller, IdentityMatch, sane
from spendgate.values import dataclass

KEY_HEADERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
"""Where the SDKs of OpenAI, Anthropic, Azure and Google put a key."""


@dataclass(frozen=True, slots=True)
class HeaderExtractor:
    """Plain headers, from callers that may say who asks: all, or those with one of the mTLS principals."""

    team: str = "x-llm-team"
    app: str = "x-llm-app"
    user: str = "x-llm-user"
    trusted: tuple[re.Pattern[str], ...] = ()
    """Principals whose headers are believed; empty: everybody's."""

    def trusts(self, caller: Caller) -> bool:
        """May this caller say who asks?"""
        return not self.trusted or any(p.fullmatch(caller.principal) for p in self.trusted)

    def read(self, caller: Caller) -> IdentityMatch:
        if self.trusted and not self.trusts(caller):
            return IdentityMatch()
        said = caller.headers.get
        team, app, user = said(self.team), said(self.app), said(self.user)
        # a header sent twice comes joined by a comma: then it names nobody
        return IdentityMatch(
            sane(team) if team and "," not in team else "",
            sane(app) if app and "," not in app else "",
            sane(user) if user and "," not in user else "",
        )

    @property
    def vouches(self) -> bool:
        return bool(self.trusted)

    @property
    def header_names(self) -> frozenset[str]:
        return frozenset({self.team, self.app, self.user})


SERVICE_ACCOUNT = re.compile(
    r"^spiffe://(?P<trust_domain>[^/]+)/ns/(?P<namespace>[^/]+)/sa/(?P<service_account>[^/]+)$"
)
"""How Istio and SPIRE's Kubernetes workloads are named."""
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class PrincipalRule:
    """One rule: what must match (None: anything), and the team and app it gives. `{name}` stands for
    namespace, service_account, trust_domain or a group of `principal`."""

    team: str
    app: str
    namespace: re.Pattern[str] | None = None
    service_account: re.Pattern[str] | None = None
    principal: re.Pattern[str] | None = None

    def read(self, principal: str, parts: Mapping[str, str]) -> IdentityMatch | None:
        """What the rule gives, None where it does not match."""
        groups: dict[str, str] = dict(parts)
        for pattern, part in ((self.namespace, "namespace"), (self.service_account, "service_account")):
            if pattern is not None and not pattern.fullmatch(parts.get(part, "")):
                return None
        if self.principal is not None:
            m = self.principal.search(principal)
            if m is None:
                return None
            groups |= {k: v or "" for k, v in m.groupdict().items()}
        team, app = (_SLOT.sub(lambda s: groups.get(s[1], ""), t) for t in (self.team, self.app))
        return IdentityMatch(sane(team), sane(app))


@dataclass(frozen=True, slots=True)
class SpiffeExtractor:
    """The mTLS principal: the first rule that matches, else the pattern with its groups team, app, user."""

    pattern: re.Pattern[str] | None = re.compile(r"^spiffe://[^/]+/ns/(?P<team>[^/]+)/sa/(?P<app>[^/]+)$")
    rules: tuple[PrincipalRule, ...] = ()
    trust_domains: frozenset[str] = frozenset()
    """Empty: whatever the listener's certificate authorities vouch for."""
    sidecars: bool = False
    """Where the caller has no certificate: the identity of the sidecar that asks."""
    gateways: tuple[re.Pattern[str], ...] = ()
    """The proxies that may speak for others (`Caller.told_by`); empty: all."""

    def read(self, caller: Caller) -> IdentityMatch:
        principal = caller.principal or (caller.sidecar if self.sidecars else "")
        if not principal.startswith("spiffe://"):
            return IdentityMatch()
        if self.trust_domains and principal[9:].partition("/")[0] not in self.trust_domains:
            return IdentityMatch()
        m = SERVICE_ACCOUNT.match(principal)
        parts = m.groupdict() if m is not None else {}
        for rule in self.rules:
            found = rule.read(principal, parts)
            if found is not None:
                return found
        m = self.pattern.search(principal) if self.pattern is not None else None
        if m is None:
            return IdentityMatch()
        groups = m.groupdict()
        return IdentityMatch(sane(groups.get("team")), sane(groups.get("app")), sane(groups.get("user")))

    @property
    def vouches(self) -> bool:
        return True

    @property
    def header_names(self) -> frozenset[str]:
        return frozenset()


def claim_of(claims: Mapping[str, object], name: str) -> object:
    """A claim; a dotted name walks into objects. None where it is not there."""
    if name in claims:
        return claims[name]
    value: object = claims
    for part in name.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


@dataclass(frozen=True, slots=True)
class ClaimExtractor:
    """Claims of a JWT that Envoy's jwt_authn verified. A dotted name walks into objects."""

    team: str = "team"
    app: str = "azp"
    user: str = "sub"
    issuer: str = ""
    """Only tokens of this issuer (`iss`); "": of all that the listener verifies."""

    def read(self, caller: Caller) -> IdentityMatch:
        """Of several tokens the first that names a team; team and app never come from two of them."""
        first = IdentityMatch()
        for claims in caller.claims:
            if self.issuer and claims.get("iss") != self.issuer:
                continue
            found = IdentityMatch(
                *(sane(claim_of(claims, name)) for name in (self.team, self.app, self.user))
            )
            if found.team:
                return found
            first = first if first.app or first.user else found
        return first

    @property
    def vouches(self) -> bool:
        return True

    @property
    def header_names(self) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True, slots=True)
class ApiKeyExtractor:
    """An API key in one of the headers where SDKs put it. The first that is known counts."""

    ring: KeyRing = field(default_factory=KeyRing)
    headers: tuple[str, ...] = KEY_HEADERS
    issued: bool = False
    """The keys are ours (`spendgate keys`): no provider knows them, so none sees them."""

    def read(self, caller: Caller) -> IdentityMatch:
        for name in self.headers:
            value = caller.headers.get(name, "").strip()
            if value[:7].lower() == "bearer ":
                value = value[7:].strip()
            known = self.ring.find(value, caller.now_ms) if value else None
            if known is not None:
                return IdentityMatch(known.team, known.app, known.user if isinstance(known, ApiKey) else "")
        return IdentityMatch()

    @property
    def vouches(self) -> bool:
        return True

    @property
    def header_names(self) -> frozenset[str]:
        return frozenset(self.headers) if self.issued else frozenset()
