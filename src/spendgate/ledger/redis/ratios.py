"""What learned holds rest on: how an app's true costs compared with their worst cases, model by model."""

from __future__ import annotations

import orjson

from spendgate.budget.ratios import Ratios
from spendgate.ledger.redis.codec import SEP, clean, team_prefix, text
from spendgate.ledger.redis.ledger import RedisLedger


async def read_ratios(ledger: RedisLedger, team: str, app: str) -> dict[str, Ratios]:
    """The samples of an app by model, as the ledger has them. Raises LedgerUnavailable."""
    (found,) = await ledger.calls.send_all("ratios", [("HGETALL", team_prefix(team) + "ratios")])
    pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
    out = {}
    for field, raw in pairs:
        known, _, model = text(field).partition(SEP)
        if model and known == clean(app):
            sketch = orjson.loads(raw)
            out[model] = Ratios.of_counts(int(sketch["n"]), list(sketch["i"]), list(sketch["o"]))
    return out
