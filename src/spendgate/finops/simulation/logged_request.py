"""What a logged exchange asked for, as far as its usage line tells. Pure.

A usage line has the tokens billed and what was held, not the request. So the request is taken to have asked:

- for `model_requested`, with the input tokens that the provider billed;
- with the output limit that, together with them, makes the estimate that was held, at least what was
  answered; where that is the gateway's own default the client is taken to have set none;
- for nothing but text, unless other kinds were billed (what a model must be able to do is not in a log).
"""

from __future__ import annotations

from spendgate.dialects.base import RequestFacts
from spendgate.pricing.cost import estimate_nanousd, output_picousd
from spendgate.pricing.table import PriceTable
from spendgate.pricing.terms import Terms
from spendgate.records.outcome import Outcome
from spendgate.records.record import UsagePart, UsageRecord
from spendgate.tokens.bound import input_bound
from spendgate.tokens.count import Counted
from spendgate.usage import OTHER_KINDS, Usage, input_total, output_total
from spendgate.values import dataclass

PLAIN = frozenset({"input", "cached_input", "cache_write_5m", "cache_write_1h", "output", "reasoning"})
_WRITES = frozenset({"cache_write_5m", "cache_write_1h"})


@dataclass(slots=True)
class LoggedRequest:
    """One exchange to decide again. `cost_nanousd` and `estimate_nanousd` are what was logged for it, `model`
    what served it."""

    at_ms: int
    team: str
    app: str
    run: str
    dialect: str
    asked: str
    required: bool
    model: str
    tokens: Usage
    input_tokens: int
    output_tokens: int
    cost_nanousd: int
    estimate_nanousd: int
    price_version: str
    parts: tuple[UsagePart, ...] = ()
    provider: str = ""
    service_tier: str = ""
    residency: str = ""
    user: str = ""
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def terms(self) -> Terms:
        """The terms that it was priced under."""
        return Terms(self.provider, self.service_tier, self.residency, self.at_ms)

    @property
    def is_plain(self) -> bool:
        """Nothing but plain tokens was billed."""
        return self.tokens.keys() <= PLAIN

    def facts(self, output_cap: int | None) -> RequestFacts:
        """The request's facts, as a dialect would give them."""
        kinds = self.tokens.keys()
        return RequestFacts(
            model=self.asked,
            stream=False,
            texts=(),
            text_bytes=0,
            output_cap=output_cap,
            fee_kinds={k: n for k, n in self.tokens.items() if k in OTHER_KINDS},
            cache_writes=_WRITES.intersection(kinds),
            dear_kinds=frozenset(kinds) - PLAIN - {*OTHER_KINDS},
        )

    def counted(self) -> Counted:
        """The input as the gateway counts it where the answer matters: exactly."""
        return Counted(self.input_tokens, True, self.input_tokens * 8)

    def output_cap(self, logged_at: PriceTable, default_output_tokens: int | None) -> int | None:
        """The output limit that explains what was held, at the prices of the log; None where the client set
        none, or nothing tells."""
        price = logged_at.find(self.model, self.terms)
        if price is None or not self.estimate_nanousd:
            return None
        bound = input_bound(self.counted(), self.model, False)
        rest = self.estimate_nanousd - estimate_nanousd(price, bound, 0, {"requests": 1})
        cap = max(self.output_tokens, rest * 1000 // max(1, output_picousd(price, bound)), 1)
        most = price.max_output_tokens
        usual = logged_at.output_tokens(self.model, most)
        if default_output_tokens is not None:
            usual = min(most, default_output_tokens) if most else default_output_tokens
        if self.output_tokens <= usual and abs(cap - usual) <= max(2, usual // 50):
            return None
        return max(min(cap, most), self.output_tokens) if most else cap


def demand_of(record: UsageRecord) -> LoggedRequest | None:
    """The demand of a record; None where it was refused: what was never sent has no tokens in the log."""
    if record.outcome is Outcome.REFUSED:
        return None
    tokens = record.tokens
    return LoggedRequest(
        record.at_ms,
        record.team,
        record.app,
        record.run,
        record.dialect,
        record.model_requested or record.model,
        record.reason == "required_model",
        record.model,
        tokens,
        input_total(tokens),
        output_total(tokens),
        record.cost_nanousd,
        record.estimate_nanousd,
        record.price_version,
        record.parts,
        record.priced_by.provider,
        record.priced_by.service_tier,
        record.priced_by.residency,
        record.user,
        record.tags,
    )
