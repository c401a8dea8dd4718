"""Who asks: team, app, user and run, by an ordered list of extractors over what Envoy hands us.

The first extractor that yields a team wins; app and user come from the same one where it has them, else from the
first other one that does.
An absurd value (empty, over 128 characters, control characters) counts as absent, so that no client can
create series or keys without limit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import Protocol

from spendgate.identity import headers as h
from spendgate.values import dataclass

UNATTRIBUTED = "unattributed"


@dataclass(frozen=True, slots=True)
class Proxy:
    """The Envoy that asks us. `principal` is that of its certificate as the Envoy before us saw it, "" where none
    did; `sidecar`: it says that it is one; `last`: no other Envoy with our filter follows it."""

    principal: str = ""
    sidecar: bool = False
    last: bool = True


UNKNOWN_PROXY = Proxy()


@dataclass(frozen=True, slots=True)
class Caller:
    """What Envoy knows of a caller. `principal` is the mTLS URI SAN; `claims` those of each verified JWT, apart:
    what one issuer says of a person must not be mixed with what another says."""

    headers: Mapping[str, str]
    principal: str = ""
    claims: tuple[Mapping[str, object], ...] = ()
    now_ms: int = 0
    """The time of asking, for keys that expire."""
    sidecar: str = ""
    """The principal of the sidecar that asks, which is that of its workload; "" where a gateway asks."""
    doctor: bool = False
    """It showed the doctor's credential."""

    @classmethod
    def told_by(
        cls,
        proxy: Proxy,
        gateways: tuple[re.Pattern[str], ...],
        headers: Mapping[str, str],
        principal: str,
        claims: tuple[Mapping[str, object], ...],
        now_ms: int,
    ) -> Caller:
        """The caller as a proxy tells of it. Where `gateways` are named, only they may speak for others: what
        anybody else tells of certificates and tokens is not believed, and the caller is the workload that asks."""
        if not gateways:
            return cls(headers, principal, claims, now_ms, proxy.principal if proxy.sidecar else "")
        if any(p.fullmatch(proxy.principal) for p in gateways):
            return cls(headers, principal, claims, now_ms)
        return cls(headers, "", (), now_ms, proxy.principal)


@dataclass(frozen=True, slots=True)
class Identity:
    """Team and app are never empty: `unattributed` where nobody said."""

    team: str
    app: str
    user: str = ""
    run: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    """(name, value) of what the setting `tags` names and the request has."""
    vouched: bool = field(default=False, compare=False)
    """The team was named by a certificate, a verified token or a key, not by whoever writes a header."""


@dataclass(frozen=True, slots=True)
class IdentityMatch:
    """What one extractor found; empty strings where it found nothing."""

    team: str = ""
    app: str = ""
    user: str = ""


class Extractor(Protocol):
    """One way to identify a caller."""

    def read(self, caller: Caller) -> IdentityMatch:
        """Find what can be found; never raises."""
        ...

    @property
    def vouches(self) -> bool:
        """Can a caller not make up what it finds?"""
        ...

    @property
    def header_names(self) -> frozenset[str]:
        """Headers that carry identity here; they are taken off before the provider sees the request."""
        ...


def sane(value: object) -> str:
    """A believed value, "" for one that is absurd or no text."""
    text = value.strip() if isinstance(value, str) else ""
    return text if h.printable(text) else ""


_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def run_of(headers: Mapping[str, str]) -> str:
    """The run: `x-llm-run`, else the W3C trace id (https://www.w3.org/TR/trace-context/), else none."""
    given = headers.get(h.RUN)
    if given and (named := sane(given)):
        return named
    trace = headers.get(h.TRACEPARENT)
    m = _TRACEPARENT.match(trace) if trace else None
    return m[1] if m and m[1].strip("0") else ""


FORGOTTEN_S = 3600.0
"""A name that was not heard for so long gives its place to another."""


class Roster:
    """Bounds the team names that callers can bring into being: teams with a budget, and those that somebody vouches
    for, always stand; of others `limit` at a time. What comes more counts as `unattributed`, until one of the names was
    not heard for an hour (by `clock_s`). One a process."""

    def __init__(self, limit: int, clock_s: Callable[[], float] = lambda: 0.0) -> None:
        self._limit = limit
        self._clock_s = clock_s
        self._heard_s: dict[str, float] = {}
        """By when each was heard, the longest ago first."""

    def admit(self, identity: Identity, has_budget: bool) -> Identity:
        """The identity to book on."""
        if has_budget or identity.vouched or identity.team == UNATTRIBUTED:
            return identity
        now, heard = self._clock_s(), self._heard_s
        if identity.team not in heard and len(heard) >= self._limit:
            oldest = next(iter(heard), None)
            if oldest is None or now - heard[oldest] < FORGOTTEN_S:
                return replace(identity, team=UNATTRIBUTED)
            del heard[oldest]
        heard.pop(identity.team, None)
        heard[identity.team] = now
        return identity


def identify(caller: Caller, extractors: tuple[Extractor, ...]) -> Identity:
    """Ask the extractors in order."""
    team = app = user = ""
    vouched = False
    for extractor in extractors:
        found = extractor.read(caller)
        if found.team and not team:
            team, app, user = found.team, found.app or app, found.user or user
            vouched = extractor.vouches
        else:
            app = app or found.app
            user = user or found.user
        if team and app and user:
            break
    return Identity(team or UNATTRIBUTED, app or UNATTRIBUTED, user, run_of(caller.headers), vouched=vouched)
