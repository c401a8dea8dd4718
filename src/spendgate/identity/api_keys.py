"""API keys of our own: what is kept of a key, how one is made, found, rotated and revoked. Pure.

A key reads `sgk_ID_SECRET`. The id is public and finds the entry, so that a look-up costs one dictionary access
and one hash whoever asks; the secret is 256 random bits. What is kept is HMAC-SHA256(salt, key) with a salt of the
key's own. A slow password hash would add nothing to 256 random bits, and would let anybody who sends wrong keys
burn the gateway's CPU.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from types import MappingProxyType

from spendgate.values import dataclass

PREFIX = "sgk_"
ID_BYTES, SECRET_BYTES, SALT_BYTES = 8, 32, 16
_NOBODY = (b"\x00" * SALT_BYTES, b"\x00" * 32)
"""What an unknown id is compared with, so that it costs what a known one does."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key as it is kept. Times are milliseconds since the epoch; 0: never."""

    id: str
    team: str
    app: str
    user: str
    salt: bytes
    digest: bytes
    created_ms: int
    expires_ms: int = 0
    revoked_ms: int = 0
    note: str = ""

    def state(self, now_ms: int) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_ms and self.revoked_ms <= now_ms:
            return "revoked"
        return "expired" if self.expires_ms and self.expires_ms <= now_ms else "active"


@dataclass(frozen=True, slots=True)
class PlainHash:
    """A key that was not made here, known by the SHA-256 (hex) of its text: for long random keys only."""

    sha256: str
    team: str
    app: str = ""


def digest_of(salt: bytes, key: str) -> bytes:
    """What is kept of a key."""
    return hmac.digest(salt, key.encode(), "sha256")


def issue(
    entropy: bytes, team: str, app: str, user: str, now_ms: int, expires_ms: int = 0, note: str = ""
) -> tuple[str, ApiKey]:
    """Make a key of 56 random bytes: its text (to be shown once) and its entry."""
    if len(entropy) != ID_BYTES + SECRET_BYTES + SALT_BYTES:
        raise ValueError(
            f"{ID_BYTES + SECRET_BYTES + SALT_BYTES} random bytes make a key, not {len(entropy)}"
        )
    name = base64.b32encode(entropy[:ID_BYTES]).decode().rstrip("=").lower()
    secret = base64.urlsafe_b64encode(entropy[ID_BYTES : ID_BYTES + SECRET_BYTES]).decode().rstrip("=")
    salt = entropy[ID_BYTES + SECRET_BYTES :]
    text = f"{PREFIX}{name}_{secret}"
    return text, ApiKey(name, team, app, user, salt, digest_of(salt, text), now_ms, expires_ms, 0, note)


def id_of(key: str) -> str:
    """The public id in a key's text, "" where it is none of ours."""
    parts = key.split("_", 2)
    return parts[1] if len(parts) == 3 and key.startswith(PREFIX) else ""


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys that a gateway knows."""

    keys: Mapping[str, ApiKey] = field(default_factory=lambda: MappingProxyType({}))
    plain: Mapping[str, PlainHash] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, keys: Iterable[ApiKey], plain: Iterable[PlainHash] = ()) -> KeyRing:
        """Put keys together."""
        return cls(MappingProxyType({k.id: k for k in keys}), MappingProxyType({p.sha256: p for p in plain}))

    def find(self, key: str, now_ms: int) -> ApiKey | PlainHash | None:
        """Whose key this is; None for an unknown, wrong, expired or revoked one."""
        name = id_of(key)
        if not name:
            return self.plain.get(hashlib.sha256(key.encode()).hexdigest()) if self.plain else None
        known = self.keys.get(name)
        salt, digest = (known.salt, known.digest) if known is not None else _NOBODY
        same = hmac.compare_digest(digest_of(salt, key), digest)
        if known is None or not same or known.state(now_ms) != "active":
            return None
        return known

    def added(self, key: ApiKey) -> KeyRing:
        """With one more."""
        return replace(self, keys=MappingProxyType({**self.keys, key.id: key}))

    def expiring(self, key_id: str, at_ms: int) -> KeyRing:
        """With one that ends at a time, at the latest. Raises KeyError for an unknown id."""
        known = self.keys[key_id]
        ends = min(known.expires_ms or at_ms, at_ms)
        return self.added(replace(known, expires_ms=ends))

    def revoked(self, key_id: str, now_ms: int) -> KeyRing:
        """With one that is revoked from now on; one that is already stays as it was. Raises KeyError."""
        known = self.keys[key_id]
        return self if known.revoked_ms else self.added(replace(known, revoked_ms=now_ms))

    def without(self, key_id: str) -> KeyRing:
        """With one forgotten. Raises KeyError."""
        rest = dict(self.keys)
        del rest[key_id]
        return replace(self, keys=MappingProxyType(rest))
