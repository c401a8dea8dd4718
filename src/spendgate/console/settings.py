"""The console's settings, from the environment: the controller and `up` read the same names."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from collections.abc import Mapping
from pathlib import Path

from spendgate.errors import ConfigurationError
from spendgate.values import dataclass

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
LOOPBACK = "127.0.0.0/8,::1/128"
TOKEN_MIN = 16


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """How people sign in, and where their proposals go. Nothing set: anybody may read, nobody may ask."""

    secret: bytes
    """Signs sessions and form tokens; the same on every replica where SPENDGATE_CONSOLE_SECRET is set."""
    token: str = ""
    user_header: str = ""
    trusted: tuple[Network, ...] = ()
    jwks: str = ""
    issuer: str = ""
    audience: str = ""
    jwt_header: str = "authorization"
    anonymous: bool = True
    """May who has not signed in read?"""
    repo: str = ""
    base: str = ""
    path: str = ""
    forge: str = "auto"
    usage_logs: tuple[Path, ...] = ()
    """Usage logs that tell of users, beside or instead of the process's own."""
    slack_signing_secret: str = ""
    slack_channel_only: tuple[str, ...] = ()

    @property
    def signs_in(self) -> bool:
        """Is there any way to sign in?"""
        return bool(self.token or self.user_header or self.jwks)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> ConsoleSettings:
        """Read them. Raises ConfigurationError that names the variable."""
        token = environ.get("SPENDGATE_CONSOLE_TOKEN", "")
        if token and len(token) < TOKEN_MIN:
            raise ConfigurationError(f"SPENDGATE_CONSOLE_TOKEN: has fewer than {TOKEN_MIN} characters")
        user_header = environ.get("SPENDGATE_CONSOLE_USER_HEADER", "").lower()
        jwks = environ.get("SPENDGATE_CONSOLE_JWKS", "")
        issuer = environ.get("SPENDGATE_CONSOLE_JWT_ISSUER", "")
        audience = environ.get("SPENDGATE_CONSOLE_JWT_AUDIENCE", "")
        if jwks and not (issuer and audience):
            raise ConfigurationError(
                "SPENDGATE_CONSOLE_JWKS: needs SPENDGATE_CONSOLE_JWT_ISSUER and _JWT_AUDIENCE, so that a token "
                "made for somebody else is not taken"
            )
        given = environ.get("SPENDGATE_CONSOLE_SECRET", "")
        secret = given.encode() or (
            hashlib.sha256(b"console|" + token.encode()).digest() if token else secrets.token_bytes(32)
        )
        signs_in = bool(token or user_header or jwks)
        anonymous = environ.get("SPENDGATE_CONSOLE_ANONYMOUS", "none" if signs_in else "read")
        if anonymous not in ("read", "none"):
            raise ConfigurationError(f"SPENDGATE_CONSOLE_ANONYMOUS: is read or none, found {anonymous!r}")
        if anonymous == "none" and not signs_in:
            raise ConfigurationError(
                "SPENDGATE_CONSOLE_ANONYMOUS: none locks everybody out; set SPENDGATE_CONSOLE_TOKEN, "
                "_USER_HEADER or _JWKS"
            )
        return cls(
            secret=secret,
            token=token,
            user_header=user_header,
            trusted=_networks(environ.get("SPENDGATE_CONSOLE_TRUSTED_PROXIES") or LOOPBACK),
            jwks=jwks,
            issuer=issuer,
            audience=audience,
            jwt_header=environ.get("SPENDGATE_CONSOLE_JWT_HEADER", "authorization").lower(),
            anonymous=anonymous == "read",
            repo=environ.get("SPENDGATE_POLICY_REPO", ""),
            base=environ.get("SPENDGATE_POLICY_BASE", ""),
            path=environ.get("SPENDGATE_POLICY_PATH", ""),
            forge=environ.get("SPENDGATE_FORGE", "auto"),
            usage_logs=tuple(Path(p) for p in environ.get("SPENDGATE_CONSOLE_USAGE_LOG", "").split()),
            slack_signing_secret=environ.get("SLACK_SIGNING_SECRET", ""),
            slack_channel_only=tuple(environ.get("SPENDGATE_SLACK_CHANNELS", "").split()),
        )


def _networks(text: str) -> tuple[Network, ...]:
    out = []
    for part in text.replace(",", " ").split():
        try:
            out.append(ipaddress.ip_network(part, strict=False))
        except ValueError as e:
            raise ConfigurationError(f"SPENDGATE_CONSOLE_TRUSTED_PROXIES: {e}; write 10.0.0.0/8") from e
    return tuple(out)
