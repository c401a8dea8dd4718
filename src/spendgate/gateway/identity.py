"""Who asks: team, app, user and run, by an ordered list of extractors over what Envoy hands us.

The first extractor that yields a team wins; app and user come from the same one, or else from a later one.
An absurd value (empty, over 128 characters, control characters) counts as absent, so that no client can
create series or keys without limit.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from spendgate.gateway import headers as h

UNATTRIBUTED = "unattributed"


@dataclass(frozen=True, slots=True)
class Caller:
    """What Envoy knows of a caller. `claims` are verified JWT claims, `principal` the mTLS URI SAN."""

    headers: Mapping[str, str]
    principal: str = ""
    claims: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Identity:
    """Team and app are never empty: `unattributed` where nobody said."""

    team: str
    app: str
    user: str = ""
    run: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What one extractor found; empty strings where it found nothing."""

    team: str = ""
    app: str = ""
    user: str = ""


class Extractor(Protocol):
    """One way to identify a caller."""

    def read(self, caller: Caller) -> Found:
        """Find what can be found; never raises."""
        ...

    @property
    def header_names(self) -> frozenset[str]:
        """Headers that carry identity here; they are taken off before the provider sees the request."""
        ...


def _sane(value: object) -> str:
    text = value.strip() if isinstance(value, str) else ""
    return text if h.printable(text) else ""


@dataclass(frozen=True, slots=True)
class HeaderExtractor:
    """Plain headers, for callers that the mesh already trusts."""

    team: str = "x-llm-team"
    app: str = "x-llm-app"
    user: str = "x-llm-user"

    def read(self, caller: Caller) -> Found:
        get = caller.headers.get
        return Found(_sane(get(self.team, "")), _sane(get(self.app, "")), _sane(get(self.user, "")))

    @property
    def header_names(self) -> frozenset[str]:
        return frozenset({self.team, self.app, self.user})


@dataclass(frozen=True, slots=True)
class SpiffeExtractor:
    """The mTLS principal, e.g. `spiffe://cluster.local/ns/(?P<team>…)/sa/(?P<app>…)`."""

    pattern: re.Pattern[str] = re.compile(r"^spiffe://[^/]+/ns/(?P<team>[^/]+)/sa/(?P<app>[^/]+)$")

    def read(self, caller: Caller) -> Found:
        m = self.pattern.match(caller.principal) if caller.principal else None
        if m is None:
            return Found()
        groups = m.groupdict()
        return Found(_sane(groups.get("team")), _sane(groups.get("app")), _sane(groups.get("user")))

    @property
    def header_names(self) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True, slots=True)
class ClaimExtractor:
    """Claims of a JWT that Envoy's jwt_authn verified. A dotted name walks into objects."""

    team: str = "team"
    app: str = "azp"
    user: str = "sub"

    def read(self, caller: Caller) -> Found:
        return Found(*(_sane(self._claim(caller.claims, name)) for name in (self.team, self.app, self.user)))

    @staticmethod
    def _claim(claims: Mapping[str, object], name: str) -> object:
        if name in claims:
            return claims[name]
        value: object = claims
        for part in name.split("."):
            if not isinstance(value, Mapping):
                return None
            value = value.get(part)
        return value

    @property
    def header_names(self) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True, slots=True)
class ApiKeyExtractor:
    """The SHA-256 (hex) of the API key, mapped to a team and app; keys themselves are never configured."""

    keys: Mapping[str, tuple[str, str]]
    header: str = "authorization"

    def read(self, caller: Caller) -> Found:
        value = caller.headers.get(self.header, "")
        if value[:7].lower() == "bearer ":
            value = value[7:]
        if not value.strip():
            return Found()
        team, app = self.keys.get(hashlib.sha256(value.strip().encode()).hexdigest(), ("", ""))
        return Found(team, app)

    @property
    def header_names(self) -> frozenset[str]:
        return frozenset()


_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def run_of(headers: Mapping[str, str]) -> str:
    """The run: `x-llm-run`, else the W3C trace id (https://www.w3.org/TR/trace-context/), else none."""
    named = _sane(headers.get(h.RUN, ""))
    if named:
        return named
    m = _TRACEPARENT.match(headers.get(h.TRACEPARENT, ""))
    return m[1] if m and m[1].strip("0") else ""


class Roster:
    """Bounds the team names that callers can bring into being: teams with a budget always stand, of others
    the first `limit`; what comes after counts as `unattributed`. One a process."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._strangers: set[str] = set()

    def admit(self, identity: Identity, has_budget: bool) -> Identity:
        """The identity to book on."""
        if has_budget or identity.team in self._strangers or identity.team == UNATTRIBUTED:
            return identity
        if len(self._strangers) < self._limit:
            self._strangers.add(identity.team)
            return identity
        return replace(identity, team=UNATTRIBUTED)


def identify(caller: Caller, extractors: tuple[Extractor, ...]) -> Identity:
    """Ask the extractors in order."""
    team = app = user = ""
    for extractor in extractors:
        found = extractor.read(caller)
        team = team or found.team
        app = app or found.app
        user = user or found.user
        if team and app and user:
            break
    return Identity(team or UNATTRIBUTED, app or UNATTRIBUTED, user, run_of(caller.headers))
