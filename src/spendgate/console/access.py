"""Who looks at the console: by a proxy's header, a JWT, or the shared token; and form tokens against forgery.

A session cookie is `user.expiry.mac`, signed with the console's secret, so that no replica keeps state.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import structlog
from starlette.requests import Request

from spendgate.console.settings import ConsoleSettings
from spendgate.errors import ConfigurationError
from spendgate.values import dataclass

log = structlog.get_logger()

COOKIE = "spendgate-session"
SESSION_S = 12 * 3600
CSRF_FIELD = "form_token"
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
"""Asymmetric ones only: a JWKS holds public keys, and a public key must never serve as an HMAC's secret."""
CLAIMS = ("email", "preferred_username", "sub")


@dataclass(frozen=True, slots=True)
class Visitor:
    """`name` "" is anybody. `csrf` is the token that this visitor's forms must carry."""

    name: str = ""
    csrf: str = ""

    @property
    def signed_in(self) -> bool:
        """Is it known who this is?"""
        return bool(self.name)


class Access:
    """Tells who a request comes from. `now_s` is the clock, in seconds."""

    def __init__(self, settings: ConsoleSettings, now_s: Callable[[], float]) -> None:
        self.settings = settings
        self._now_s = now_s
        self._keys: Any = None
        if settings.jwks.startswith(("http://", "https://")):
            self._keys = jwt.PyJWKClient(settings.jwks, cache_keys=True, timeout=5)
        elif settings.jwks:
            try:
                self._keys = jwt.PyJWKSet.from_json(Path(settings.jwks).read_text("utf-8"))
            except (OSError, jwt.PyJWTError, ValueError) as e:
                raise ConfigurationError(f"SPENDGATE_CONSOLE_JWKS: {settings.jwks}: {e}") from e

    def visitor(self, request: Request) -> Visitor:
        """Who it is, by the first that says so: proxy header, JWT, bearer token, session."""
        name = (
            self._by_proxy(request)
            or self._by_jwt(request)
            or self._by_token(request)
            or self._by_cookie(request)
        )
        return Visitor(name, self._mac(f"csrf|{name}") if name else "")

    def may_read(self, visitor: Visitor) -> bool:
        """May this visitor see the pages?"""
        return self.settings.anonymous or visitor.signed_in

    # -- ways to say who one is -----------------------------------------------------------------------------

    def _by_proxy(self, request: Request) -> str:
        header = self.settings.user_header
        if not header:
            return ""
        name = request.headers.get(header, "")
        if not name:
            return ""
        peer = request.client.host if request.client is not None else ""
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return ""
        if any(address in network for network in self.settings.trusted):
            return _plain(name)
        log.warning("console_header_refused", header=header, peer=peer, why="not from a trusted proxy")
        return ""

    def _by_jwt(self, request: Request) -> str:
        if self._keys is None:
            return ""
        text = request.headers.get(self.settings.jwt_header, "").removeprefix("Bearer ").strip()
        if text.count(".") != 2:
            return ""
        try:
            header = jwt.get_unverified_header(text)
            if header.get("alg") not in ALGORITHMS:
                raise jwt.InvalidAlgorithmError(f"alg {header.get('alg')!r} is not taken")
            if isinstance(self._keys, jwt.PyJWKClient):
                key = self._keys.get_signing_key_from_jwt(text)
            else:
                key = self._keys[header["kid"]] if "kid" in header else self._keys.keys[0]
            claims = jwt.decode(
                text,
                key.key,
                algorithms=[header["alg"]],
                issuer=self.settings.issuer,
                audience=self.settings.audience,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (jwt.PyJWTError, KeyError, IndexError) as e:
            log.warning("console_jwt_refused", why=f"{type(e).__name__}: {e}")
            return ""
        return next((_plain(str(claims[c])) for c in CLAIMS if claims.get(c)), "")

    def _by_token(self, request: Request) -> str:
        given = request.headers.get("authorization", "")
        if given.startswith("Bearer ") and self.token_is(given.removeprefix("Bearer ").strip()):
            return "token"
        return ""

    def _by_cookie(self, request: Request) -> str:
        try:
            raw = base64.urlsafe_b64decode(request.cookies.get(COOKIE, ""))
            name, expiry, mac = json.loads(raw)
        except (ValueError, TypeError):
            return ""
        if not isinstance(name, str) or not isinstance(expiry, int) or not isinstance(mac, str):
            return ""
        good = hmac.compare_digest(mac, self._mac(f"session|{name}|{expiry}"))
        return name if good and expiry > self._now_s() else ""

    # -- sessions and forms ---------------------------------------------------------------------------------

    def token_is(self, given: str) -> bool:
        """Is it the shared token? Takes the same time whatever is given."""
        token = self.settings.token
        return bool(token) and hmac.compare_digest(given.encode(), token.encode())

    def session(self, name: str) -> str:
        """The cookie of somebody who signed in."""
        expiry = int(self._now_s()) + SESSION_S
        mac = self._mac(f"session|{name}|{expiry}")
        return base64.urlsafe_b64encode(json.dumps([name, expiry, mac]).encode()).decode()

    def form_is_ours(self, request: Request, visitor: Visitor, form: dict[str, str]) -> bool:
        """Did this visitor send the form from our own page?"""
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return False
        return bool(visitor.csrf) and hmac.compare_digest(form.get(CSRF_FIELD, ""), visitor.csrf)

    def _mac(self, text: str) -> str:
        return hmac.new(self.settings.secret, text.encode(), hashlib.sha256).hexdigest()


def _plain(name: str) -> str:
    return "".join(c for c in name if c.isprintable())[:200]
