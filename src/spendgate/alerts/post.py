"""One HTTP POST of JSON, with its failures sorted: was it sent for certain, perhaps, or not at all?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from spendgate.alerts.sender import Retry

TIMEOUT_S = 8.0
"""For the whole attempt, well below the 30 s of a claim."""
RETRY_AFTER_MAX_S = 300.0


async def post(
    client: httpx.AsyncClient, url: str, body: bytes, headers: Mapping[str, str]
) -> httpx.Response | Retry:
    """The response (any status but 429 and 5xx), or why to try again. Never raises for the network."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            response = await client.post(url, content=body, headers=dict(headers))
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as e:
        return Retry(f"no connection: {_named(e)}")
    except (httpx.HTTPError, TimeoutError, OSError) as e:
        return Retry(f"no answer: {_named(e)}", maybe_sent=True)
    if response.status_code == 429:
        return Retry("429, too many", retry_after_s(response.headers.get("retry-after", "")))
    if response.status_code >= 500:
        after = retry_after_s(response.headers.get("retry-after", ""))
        return Retry(f"{response.status_code}: {response.text[:100]}", after)
    return response


def retry_after_s(value: str, now: datetime | None = None) -> float:
    """`Retry-After` as seconds (RFC 9110 10.2.3: seconds or a date), at most five minutes; 0 where unreadable."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - (now or datetime.now(UTC))).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return min(max(seconds, 0.0), RETRY_AFTER_MAX_S) if seconds == seconds else 0.0


def _named(e: BaseException) -> str:
    return f"{type(e).__name__}: {e}" if str(e) else type(e).__name__
