"""The ledger on Redis by the name that scripts import: `from spendgate.ledger.redis_ledger import RedisLedger`.

The name stays wherever the ledger's own rooms move to (docs/reference/ledger.md, "From Python").
"""

from __future__ import annotations

from spendgate.ledger.redis.ledger import RedisLedger

__all__ = ["RedisLedger"]
