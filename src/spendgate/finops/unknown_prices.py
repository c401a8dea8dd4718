"""What was charged by a stand-in, from the usage log: models, kinds and tiers that no price list has. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from spendgate.records.record import UsageRecord
from spendgate.values import dataclass


@dataclass(slots=True)
class UnknownPrice:
    """One stand-in: `what` had no price (a model, or a model's kind or tier), `stand_in` is the model whose price was
    taken ("" for kinds and tiers); the money is that of the exchanges, in nano-USD."""

    what: str
    upstream: str
    stand_in: str
    exchanges: int = 0
    cost_nanousd: int = 0


def unknown_prices(records: Iterable[UsageRecord]) -> list[UnknownPrice]:
    """Every stand-in that was used, the dearest first."""
    found: dict[tuple[str, str, str], UnknownPrice] = {}
    for record in records:
        by, model = record.priced_by, record.model_answered or record.model
        whats = [(record.model, by.stand_in)] if by.stand_in else []
        whats += [(f"{model}: {kind}", "") for kind in by.unpriced]
        for what, stand_in in whats:
            key = (what, record.upstream, stand_in)
            each = found.setdefault(key, UnknownPrice(*key))
            each.exchanges += 1
            each.cost_nanousd += record.cost_nanousd
    return sorted(found.values(), key=lambda u: (-u.cost_nanousd, u.what, u.upstream))
