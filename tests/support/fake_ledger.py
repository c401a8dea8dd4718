"""A ledger that only remembers which settlements it took, and may be away."""

from __future__ import annotations

from spendgate.errors import LedgerUnavailable
from spendgate.ledger.accounts import RefusedRequest
from spendgate.ledger.exchanges import Settlement


class FakeLedger:
    """`takes` settlements are accepted in whole batches; then LedgerUnavailable until it is raised."""

    def __init__(self, takes: int = 10**9) -> None:
        self.takes = takes
        self.taken: list[Settlement] = []
        self.refused: list[RefusedRequest] = []
        self.server = "one"

    async def settle(self, batch: list[Settlement], now_ms: int = 0) -> list[str]:
        if len(batch) > self.takes:
            raise LedgerUnavailable("away")
        self.takes -= len(batch)
        self.taken += batch
        return ["settled"] * len(batch)

    async def note_refusals(self, refused: list[RefusedRequest]) -> None:
        if self.takes <= 0:
            raise LedgerUnavailable("away")
        self.refused += refused

    async def settle_timed(self, batch: list[Settlement], now_ms: int = 0) -> list[tuple[str, int]]:
        return [(word, 1) for word in await self.settle(batch, now_ms)]

    async def run_id(self) -> str:
        if self.takes <= 0:
            raise LedgerUnavailable("away")
        return self.server

    @property
    def ids(self) -> list[str]:
        return [s.exchange_id for s in self.taken]
