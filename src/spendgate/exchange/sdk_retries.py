"""Which refused requests are an SDK's repetition of one before: refused money counts once a call. Pure.

OpenAI's and Anthropic's SDKs (and those made as they are) number their tries in `x-stainless-retry-count`, AWS'
in `amz-sdk-request`. Cohere's says nothing: the same request again within a minute is taken for a repetition.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from spendgate.dialects.base import Dialect

WINDOW_MS = 60_000
"""Longer than the SDK's pauses between its tries together."""

_ATTEMPT = re.compile(r"attempt=(\d{1,4})")


def is_repeat(headers: Mapping[str, str]) -> bool:
    """Does the SDK say that it asked before?"""
    count = headers.get("x-stainless-retry-count", "0")
    attempt = _ATTEMPT.search(headers.get("amz-sdk-request", ""))
    return (count.isascii() and count.isdigit() and int(count[:9]) > 0) or (
        attempt is not None and int(attempt[1]) > 1
    )


def repeat_key(dialect: Dialect, team: str, app: str, path: str, body: bytes) -> str:
    """What is the same in every try of one call; `` for SDKs that number their tries."""
    if dialect.numbers_retries:
        return ""
    digest = hashlib.blake2b("|".join((team, app, path, "")).encode("utf-8", "replace"), digest_size=16)
    digest.update(body)
    return digest.hexdigest()
