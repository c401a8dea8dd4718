"""Refused requests on their way into the ledger: counted together, an id a count. Sans-io.

Each refusal as an entry of its own would let a client that loops into a 429 fill the ledger. What is added up
here and not yet handed over dies with the worker: at most a second's refusals, and no money.
"""

from __future__ import annotations

import uuid
from collections import Counter, deque

from spendgate.ledger.accounts import RefusedRequest
from spendgate.ledger.exchanges import Settlement
from spendgate.months import day_key
from spendgate.records.record import UsageRecord

NAMES_MAX = 500
"""Combinations of team, app and model kept apart between two hand-overs; the team's rest counts as `other`."""
LATEST_MAX = 200
"""Refusals shown in full between two hand-overs; the newest."""
OTHER = "other"
_Key = tuple[str, str, str, str]


class Refusals:
    """Counts by team, app, model and day; false while there is nothing to hand over."""

    def __init__(self) -> None:
        self._counts: Counter[_Key] = Counter()
        self._at_ms: dict[_Key, int] = {}
        self._handed: list[Settlement] = []
        self._latest: deque[RefusedRequest] = deque(maxlen=LATEST_MAX)

    def __bool__(self) -> bool:
        return bool(self._counts or self._handed)

    def add(self, record: UsageRecord) -> None:
        """Count one refused request."""
        day = day_key(record.at_ms)
        key = (record.team, record.app, record.model, day)
        if key not in self._counts and len(self._counts) >= NAMES_MAX:
            key = (record.team, OTHER, OTHER, day)
        self._latest.append(
            RefusedRequest(
                record.team, record.at_ms, record.app, record.model, record.reason, record.exchange_id,
                record.user, record.run,
            )
        )  # fmt: skip
        self._counts[key] += 1
        self._at_ms.setdefault(key, record.at_ms)

    def latest(self) -> list[RefusedRequest]:
        """The newest since the last call, each once, for the team's list of recent refusals."""
        out = list(self._latest)
        self._latest.clear()
        return out

    def settlements(self) -> list[Settlement]:
        """What is to be handed over: the same entries again until `done`, so that a repeat counts once."""
        if not self._handed:
            self._handed = [
                Settlement(f"refused-{uuid.uuid4().hex}", team, app, model, 0, at_ms=at_ms, refused=n)
                for (team, app, model, day), n in self._counts.items()
                for at_ms in (self._at_ms[team, app, model, day],)
            ]
            self._counts.clear()
            self._at_ms.clear()
        return self._handed

    def done(self) -> None:
        """They are in the ledger, or on disk."""
        self._handed = []
