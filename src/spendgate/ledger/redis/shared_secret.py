"""A secret that all gateways of a ledger share: 32 random bytes under one key, made by whoever comes first.

By it they believe each other's and the doctor's words. Whoever reads Redis could write budgets and spend anyway.
"""

from __future__ import annotations

import secrets
from typing import Any

from spendgate.ledger.redis.client import answered

KEY = "sg1:secret"
BYTES = 32
WHAT = "the shared secret"


async def read(client: Any) -> bytes:
    """The secret, b"" where nobody made it yet. Raises LedgerUnavailable."""
    return _bytes(await answered(WHAT, client.get(KEY)))


async def read_or_make(client: Any) -> bytes:
    """The secret, made where there was none. Raises LedgerUnavailable."""
    await answered(WHAT, client.set(KEY, secrets.token_hex(BYTES), nx=True))
    return await read(client)


def _bytes(value: Any) -> bytes:
    text = value.decode() if isinstance(value, bytes) else value or ""
    try:
        found = bytes.fromhex(text)
    except ValueError:
        return b""
    return found if len(found) == BYTES else b""
