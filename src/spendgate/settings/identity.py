"""The settings under `identity:`: where team, app and user come from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from spendgate.identity.api_keys import KeyRing, PlainHash
from spendgate.identity.extractors import (
    KEY_HEADERS,
    ApiKeyExtractor,
    ClaimExtractor,
    HeaderExtractor,
    PrincipalRule,
    SpiffeExtractor,
)
from spendgate.identity.tags import TagSource


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class TagFrom(_Model):
    """Where one tag's value stands: in exactly one of these."""

    header: str = Field("", max_length=128)
    """A request header."""
    claim: str = Field("", max_length=256)
    """A claim of a verified token; a dotted name walks into objects."""
    baggage: str = Field("", max_length=256)
    """A member of W3C's `baggage` header."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(map(bool, (self.header, self.claim, self.baggage))) != 1:
            raise ValueError("say where it stands: one of header, claim, baggage")
        return self

    def source(self, name: str) -> TagSource:
        """As requests are read by it."""
        return TagSource(name, self.header.lower(), self.claim, self.baggage)


TagName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,62}$")]


def _regex(value: str) -> re.Pattern[str]:
    try:
        return re.compile(value)
    except re.error as e:
        raise ValueError(f"not a regular expression: {e}") from e


def _glob(text: str) -> re.Pattern[str]:
    """A glob whose `*` and `?` stay within one part of a path."""
    return re.compile(re.escape(text).replace(r"\*", r"[^/\s]*").replace(r"\?", r"[^/\s]"))


class HeaderIdentity(_Model):
    """Identity from plain headers."""

    kind: Literal["headers"]
    team: str = "x-llm-team"
    app: str = "x-llm-app"
    user: str = "x-llm-user"
    trusted_principals: tuple[str, ...] = ()
    """Globs of mTLS principals (SPIFFE ids; `*` within one part of the path) whose headers are believed; empty:
    everybody's."""

    def extractor(self) -> HeaderExtractor:
        trusted = tuple(_glob(g) for g in self.trusted_principals)
        return HeaderExtractor(self.team.lower(), self.app.lower(), self.user.lower(), trusted)


class SpiffeRule(_Model):
    """One rule of `kind: spiffe`. In `team` and `app`, `{namespace}`, `{service_account}`, `{trust_domain}` and
    the groups of `principal` are filled in."""

    namespace: str = ""
    """A glob; empty: any."""
    service_account: str = ""
    """A glob; empty: any."""
    principal: str = ""
    """A regular expression on the whole id; empty: any."""
    team: str = ""
    """Empty: the group `team` of `principal`, else the namespace."""
    app: str = ""
    """Empty: the group `app` of `principal`, else the service account."""

    @model_validator(mode="after")
    def _slots_are_known(self) -> Self:
        if not (self.namespace or self.service_account or self.principal):
            raise ValueError("a rule needs namespace, service_account or principal")
        groups = set(_regex(self.principal).groupindex)
        known = {"namespace", "service_account", "trust_domain"} | groups
        for name in re.findall(r"\{([^}]*)\}", self.team + self.app):
            if name not in known:
                raise ValueError(f"unknown {{{name}}}; known are {', '.join(sorted(known))}")
        return self

    def rule(self) -> PrincipalRule:
        principal = re.compile(self.principal) if self.principal else None
        groups = principal.groupindex if principal is not None else {}
        return PrincipalRule(
            self.team or ("{team}" if "team" in groups else "{namespace}"),
            self.app or ("{app}" if "app" in groups else "{service_account}"),
            _glob(self.namespace) if self.namespace else None,
            _glob(self.service_account) if self.service_account else None,
            principal,
        )


class SpiffeIdentity(_Model):
    """Identity from the mTLS principal: the first rule that matches, else the pattern."""

    kind: Literal["spiffe"]
    rules: tuple[SpiffeRule, ...] = ()
    """In order; see below."""
    pattern: str = r"^spiffe://[^/]+/ns/(?P<team>[^/]+)/sa/(?P<app>[^/]+)$"
    """Its groups are team, app, user; empty: only the rules count."""
    trust_domains: tuple[str, ...] = ()
    """Principals of other trust domains name nobody; empty: all that the listener's authorities vouch for."""
    sidecars: bool = False
    """Attached to sidecars, whose applications have no certificate: the identity of the sidecar itself, as the
    gateway's own sidecar tells it. Only where nothing reaches the gateway's port but through that sidecar (STRICT)."""
    gateways: tuple[str, ...] = ()
    """Globs of the principals (SPIFFE ids; `*` within one part of the path) of the proxies that may speak for others,
    also under STRICT. Whoever else asks is believed no certificate and no token but its own, so that an application
    that speaks ext_proc itself can name nobody else. Empty: everybody that reaches the port is believed."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        if value and "team" not in _regex(value).groupindex:
            raise ValueError("name a group: (?P<team>…)")
        return value

    def extractor(self) -> SpiffeExtractor:
        pattern = re.compile(self.pattern) if self.pattern else None
        rules = tuple(r.rule() for r in self.rules)
        gateways = tuple(_glob(g) for g in self.gateways)
        return SpiffeExtractor(pattern, rules, frozenset(self.trust_domains), self.sidecars, gateways)


class JwtIdentity(_Model):
    """Identity from claims of a JWT that Envoy's jwt_authn filter verified. With `jwks_file` or `jwks_url`, `up` and
    `render bootstrap` configure that filter; in a mesh it is yours."""

    kind: Literal["jwt"]
    team: str = "team"
    """A claim; a dotted name walks into objects."""
    app: str = "azp"
    user: str = "sub"
    issuer: str = ""
    """The `iss` of the tokens that count; empty: any that is verified."""
    audiences: tuple[str, ...] = ()
    """At least one of them must be in `aud`; empty: not looked at."""
    jwks_file: str = ""
    """The issuer's public keys, a JWK set."""
    jwks_url: str = ""
    """Where the issuer publishes them."""
    header: str = "authorization"
    """Where the token is, after `Bearer ` if it is `authorization`."""
    required: bool = False
    """Is a request without a token refused (401)? One with a wrong token always is."""

    @model_validator(mode="after")
    def _verifiable(self) -> Self:
        if self.jwks_file and self.jwks_url:
            raise ValueError("give jwks_file or jwks_url, not both")
        if self.verified_here and not self.issuer:
            raise ValueError("give the issuer whose tokens are verified")
        if self.required and not self.verified_here:
            raise ValueError(
                "required needs jwks_file or jwks_url; in a mesh its own jwt_authn demands the token"
            )
        url = urlsplit(self.jwks_url)
        if self.jwks_url and (url.scheme not in ("http", "https") or not url.hostname):
            raise ValueError(f"not a URL: {self.jwks_url!r}")
        return self

    @property
    def verified_here(self) -> bool:
        """Does our own Envoy verify it?"""
        return bool(self.jwks_file or self.jwks_url)

    def extractor(self) -> ClaimExtractor:
        return ClaimExtractor(self.team, self.app, self.user, self.issuer)


class ApiKeyEntry(_Model):
    """One API key that was not made here, by the SHA-256 of its text in hex. For long random keys only; keys of
    `spendgate keys` are salted and stand in a file of their own."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    team: str
    app: str = ""


class ApiKeyIdentity(_Model):
    """Identity from an API key: of `file` (made by `spendgate keys`, and taken off before the provider), or a key
    that the provider knows too, by its hash."""

    kind: Literal["api-key"]
    file: str = ""
    """The keys of `spendgate keys`; looked at again when it changes."""
    headers: tuple[str, ...] = KEY_HEADERS
    """Where a key may be, in order; `Bearer ` before it is allowed."""
    header: str = ""
    """The only header, instead of `headers`."""
    keys: tuple[ApiKeyEntry, ...] = ()

    def extractor(self, rings: Mapping[str, KeyRing]) -> ApiKeyExtractor:
        ring = rings.get(self.file, KeyRing())
        plain = (PlainHash(k.sha256, k.team, k.app) for k in self.keys)
        ring = KeyRing.of(ring.keys.values(), (*ring.plain.values(), *plain))
        names = (self.header,) if self.header else self.headers
        return ApiKeyExtractor(ring, tuple(n.lower() for n in names), bool(self.file))

    def path(self) -> Path | None:
        """The file of keys, if there is one."""
        return Path(self.file) if self.file else None


IdentitySource = Annotated[
    HeaderIdentity | SpiffeIdentity | JwtIdentity | ApiKeyIdentity, Field(discriminator="kind")
]
