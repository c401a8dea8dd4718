"""Words that gateways believe because they were signed with the ledger's shared secret: that the doctor asks, and what
the gateway before this one did. HMAC-SHA256 with a key for each purpose, and a time until which it holds. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

VERSION = "v1"
DOCTOR_MS = 120_000
"""How long the doctor's word holds. Who replays it is refused as the doctor is, and gains nothing."""
_DOCTOR = "doctor"


def signed(secret: bytes, purpose: str, content: bytes) -> str:
    """The content and its signature, as a header carries them."""
    return ".".join((VERSION, _text(content), _text(_mac(secret, purpose, content))))


def verified(secret: bytes, purpose: str, text: str) -> bytes | None:
    """The content of a word that was signed for this purpose; None for any other, and without a secret."""
    parts = text.split(".")
    if not secret or len(parts) != 3 or parts[0] != VERSION:
        return None
    try:
        content, mac = _binary(parts[1]), _binary(parts[2])
    except (binascii.Error, ValueError):
        return None
    return content if hmac.compare_digest(mac, _mac(secret, purpose, content)) else None


def doctors_word(secret: bytes, now_ms: int) -> str:
    """What the doctor sends with each request."""
    content = f"{now_ms + DOCTOR_MS} {secrets.token_hex(8)}"
    return signed(secret, _DOCTOR, content.encode())


def is_doctors(secret: bytes, text: str, now_ms: int) -> bool:
    """Did somebody who knows the secret say this lately?"""
    content = verified(secret, _DOCTOR, text)
    if content is None:
        return False
    until, _, _ = content.decode().partition(" ")
    return now_ms < int(until) <= now_ms + 2 * DOCTOR_MS


def _mac(secret: bytes, purpose: str, content: bytes) -> bytes:
    key = hmac.digest(secret, purpose.encode(), hashlib.sha256)
    return hmac.digest(key, content, hashlib.sha256)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _binary(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
