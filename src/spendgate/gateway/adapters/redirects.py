"""An internal redirect of Envoy's: its filters see one call twice, and it is one exchange.

The first pass ends without an answer, as if the client had left. The next one comes by a gRPC call of its own, perhaps
to another worker, and without the headers that say who asks, since the route took them off. Only Envoy knows that it
is no new call, by its filter state. So an exchange that ends before its answer began leaves a word, here and in the
ledger, and is settled a moment later; the next pass finds the word by the name that both have from Envoy, voids the
hold of the first in the ledger, which works once, and meters the call in its stead. Where no word is found, both passes
are charged.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

import orjson
import structlog

from spendgate.errors import LedgerUnavailable
from spendgate.exchange.exchange import Exchange
from spendgate.exchange.handover import Handover
from spendgate.gateway.adapters import codec
from spendgate.ledger.port import Ledger
from spendgate.records.record import ExchangeResult

log = structlog.get_logger()

REDIRECTS = "filter_state['num_internal_redirects']"
"""The attribute in which Envoy (1.36 to 1.40) tells how often it sent the call on; missing in the first pass."""
LINGER_S = 1.0
"""So long an exchange that nobody may have left waits for its next pass, which comes within a millisecond."""
WORD_MS = 10_000
LOOK_S = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2)
"""Pauses before looking for a word: the end of the first pass may be told after the begin of the next."""


def exchange_id(fields: Any) -> str:
    """The id of an exchange, from what only Envoy knows of it, so that a call that Envoy replays on another
    worker finds the reservation of the first. A client's own headers play no part in it."""
    parts = [
        codec.attribute_text(fields, key) for key in ("request.time", "source.address", "destination.address")
    ]
    if "connection.id" in fields:
        parts.append(str(fields["connection.id"].number_value))
    if not parts[0] or not parts[1]:
        return secrets.token_hex(16)
    return hashlib.blake2b("|".join(parts).encode(), digest_size=16).hexdigest()


def passes(fields: Any) -> tuple[str, str]:
    """The id of an exchange and that of the pass before it, "" where it is the first."""
    name = exchange_id(fields)
    times = codec.attribute_text(fields, REDIRECTS)
    if not times.isdigit() or times == "0":
        return name, ""
    before = int(times) - 1
    return f"{name}:{times}", f"{name}:{before}" if before else name


class Elsewhere(Protocol):
    """Words for other workers (ledger.words.Words). Raises LedgerUnavailable."""

    async def leave(self, name: str, word: str, ttl_ms: int) -> None: ...

    async def find(self, name: str) -> str: ...


class Left:
    """The exchanges of one worker that ended before their answer began, for a moment."""

    def __init__(
        self, ledger: Ledger, put: Callable[[ExchangeResult], None], keep: Callable[[Any], None]
    ) -> None:
        """`put` takes an ending, `keep` holds on to a task."""
        self.elsewhere: Elsewhere | None = None
        """Where words for other workers are left; None: there are none."""
        self._ledger = ledger
        self._put = put
        self._keep = keep
        self._words: dict[str, str] = {}
        self._endings: dict[str, tuple[ExchangeResult, asyncio.TimerHandle]] = {}

    def leave(self, ending: ExchangeResult, told: Handover) -> None:
        """Settle in a moment; until then, and in the ledger somewhat longer, the next pass finds what is told."""
        name, word = told.exchange_id, orjson.dumps(asdict(told)).decode()
        if name in self._endings:
            self._settle(name)
        self._words[name] = word
        timer = asyncio.get_running_loop().call_later(LINGER_S, self._settle, name)
        self._endings[name] = ending, timer
        self._keep(asyncio.ensure_future(self._note(name, word)))

    def flush(self) -> None:
        """Settle all now."""
        for name in list(self._endings):
            self._settle(name)

    def _settle(self, name: str) -> None:
        ending, timer = self._endings.pop(name)
        timer.cancel()
        del self._words[name]
        self._put(ending)

    async def _note(self, name: str, word: str) -> None:
        try:
            if self.elsewhere is not None:
                await self.elsewhere.leave(name, word, WORD_MS)
        except LedgerUnavailable as problem:
            log.warning("word_not_left", exchange_id=name, error=str(problem))

    async def follow(self, exchange: Exchange, before: str) -> bool:
        """Meter the call in the stead of the pass before; says whether that could be. The exchange awaits its body."""
        try:
            told = await self._word(before)
            if told is None:
                return False
            [result] = await self._ledger.settle([told.void()])
        except LedgerUnavailable as problem:
            log.warning("redirect_not_followed", exchange_id=before, error=str(problem))
            return False
        if result not in ("released", "corrected"):
            return False
        exchange.take_over(told)
        return True

    async def _word(self, name: str) -> Handover | None:
        for pause in LOOK_S:
            await asyncio.sleep(pause)
            word = self._words.get(name, "")
            if not word and self.elsewhere is not None:
                word = await self.elsewhere.find(name)
            if word:
                return Handover.of(word)
        return None
