"""What is needed to end an exchange, as plain data: kept by the exchange, or carried by Envoy from the check of a
request to its access log, so that any worker can settle what another one reserved."""

from __future__ import annotations

from dataclasses import field

import orjson

from spendgate.exchange.billing import Bill
from spendgate.exchange.events import UNREADABLE
from spendgate.ledger.exchanges import GroupShare, Settlement
from spendgate.pricing.aliases import same
from spendgate.records.outcome import ChargedBy, MetricFlags
from spendgate.records.record import ExchangeResult, UsageRecord
from spendgate.usage import Usage, input_total, output_total
from spendgate.values import dataclass

MONTH: tuple[tuple[str, str], ...] = (("month", "month"),)


@dataclass(frozen=True, slots=True)
class SettlementTicket:
    """One exchange that was decided. `held_nanousd` None: nothing was reserved (its request could not be read)."""

    exchange_id: str
    request_id: str
    at_ms: int
    team: str
    app: str
    user: str
    run: str
    dialect: str
    model_requested: str
    model: str
    upstream: str
    held_nanousd: int | None
    price_version: str
    decision: str
    reason: str
    kept_because: str = ""
    unpriced: bool = False
    fail_open: bool = False
    handed_over: bool = False
    """The next gateway meters it; where it has, this ending counts nothing."""
    scopes: tuple[tuple[str, str], ...] = MONTH
    """(scope, window) of every bound reserved."""
    input_tokens: int = 0
    unseen_input: bool = False
    """Input was used that only the provider knows."""
    known_usage: Usage = field(default_factory=dict)
    """What a successful answer that tells no usage is billed by (characters to be spoken, images to be made)."""
    path: str = ""
    host: str = ""
    service_tier: str = ""
    batch: bool = False
    residency: str = ""
    """Where it was sent and how it is to be served: what its price depends on, beside the model."""
    flags: tuple[str, ...] = ()
    """What was odd in reading the request."""
    fallbacks: tuple[str, ...] = ()
    """Models that the request let answer in the stead of `model`."""
    attempts: int = 0
    """How often Envoy sent it; 0 where that is not known."""
    limits: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(model, scopes of its limits) of each model that may answer, itself too, where there are several."""
    kind: str = ""
    """Its `law.Kind` while its answer has not begun, where another worker is to end it; "" counts as not streamed."""
    aborted_flowed: bool = False
    """Its policy asks for `abortedAnswers: flowed`."""
    held_tokens: int = 0
    """The most tokens that it was expected to take."""
    groups: tuple[GroupShare, ...] = ()
    """The groups in whose accounts it stands, too."""
    end_user: str = ""
    """Whom the request itself names."""
    tags: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> str:
        """As Envoy carries it."""
        return orjson.dumps(self).decode()

    @classmethod
    def from_json(cls, text: str) -> SettlementTicket:
        """Read it back. Raises ValueError where it is none."""
        try:
            fields = orjson.loads(text)
            fields["scopes"] = tuple((str(a), str(b)) for a, b in fields["scopes"])
            for name in ("flags", "fallbacks"):
                fields[name] = tuple(fields.get(name, ()))
            fields["tags"] = tuple((str(n), str(v)) for n, v in fields.get("tags", ()))
            fields["limits"] = tuple((str(m), tuple(map(str, s))) for m, s in fields.get("limits", ()))
            fields["groups"] = tuple(
                GroupShare(str(g["name"]), tuple((str(a), str(b)) for a, b in g["scopes"]))
                for g in fields.get("groups", ())
            )
            return cls(**fields)
        except (TypeError, KeyError, ValueError) as e:
            raise ValueError(f"not a ticket: {e}") from e

    def ending(
        self,
        bill: Bill,
        *,
        settle: bool = True,
        release: bool = False,
        saved_nanousd: int = 0,
        sample: tuple[int, int] | None = None,
        attempts: int = 0,
    ) -> ExchangeResult:
        """The end of the exchange at this bill. `settle` False: nothing was held; `release`: it is voided.
        `saved_nanousd`: what another model than asked saved; `sample`: to learn holds from; `attempts`: how often Envoy
        sent it, where that became known."""
        model = self.model
        if self.fallbacks and bill.model_answered and not same(model, bill.model_answered):
            model = bill.model_answered
        flags = tuple(dict.fromkeys((*self.flags, *bill.flags))) if self.flags or bill.flags else ()
        unmetered = UNREADABLE if bill.unmetered and UNREADABLE in self.flags else bill.unmetered
        tokens = {k: v for k, v in bill.usage.items() if k != "requests"}
        unspent = self._unspent(bill)
        settlement: Settlement | None = None
        if settle and (self.held_nanousd is not None or bill.cost_nanousd or bill.usage):
            settlement = Settlement(
                exchange_id=self.exchange_id,
                team=self.team,
                app=self.app,
                model=model,
                cost_nanousd=bill.cost_nanousd,
                usage=tokens,
                at_ms=self.at_ms,
                release=release,
                scopes=tuple(s for s in self.scopes if s[0] not in unspent) if unspent else self.scopes,
                unspent=unspent,
                tokens=self._tokens(bill),
                groups=tuple(g.without(unspent) for g in self.groups) if self.groups else (),
                saved_nanousd=saved_nanousd,
                sample=None if release else sample,
                off_list_nanousd=bill.off_list_nanousd,
                markup_nanousd=bill.markup_nanousd,
            )
        record = UsageRecord(
            exchange_id=self.exchange_id,
            request_id=self.request_id,
            at_ms=self.at_ms,
            team=self.team,
            app=self.app,
            user=self.user,
            run=self.run,
            dialect=self.dialect,
            model_requested=self.model_requested,
            model=model,
            upstream=self.upstream,
            tokens=tokens,
            cost_nanousd=bill.cost_nanousd,
            estimate_nanousd=self.held_nanousd or 0,
            price_version=self.price_version,
            decision=self.decision,
            reason=self.reason if not self.fail_open else "ledger_unavailable",
            outcome=bill.outcome,
            unmetered=unmetered,
            parts=bill.parts,
            saved_nanousd=saved_nanousd,
            priced_by=bill.priced_by,
            model_answered=bill.model_answered,
            attempts=attempts or self.attempts,
            charged_by=bill.charged_by,
            flags=flags,
            end_user=self.end_user,
            tags=self.tags,
            off_list_nanousd=bill.off_list_nanousd,
            markup_nanousd=bill.markup_nanousd,
        )
        notes = MetricFlags(
            unmetered=unmetered,
            unpriced=self.unpriced or bill.priced_by.has_stand_in,
            fail_open=self.fail_open,
            handed_over=self.handed_over,
            kept_because=self.kept_because,
            flags=flags,
        )
        return ExchangeResult(record, settlement, self.held_nanousd or 0, notes)

    def _tokens(self, bill: Bill) -> int:
        """What limits of tokens are charged: what was used, or, where nobody told, the most that was expected."""
        known = input_total(bill.usage) + output_total(bill.usage)
        return self.held_tokens if bill.charged_by is ChargedBy.HOLD and not known else known

    def _unspent(self, bill: Bill) -> tuple[str, ...]:
        """The scopes held for models that did not answer; none where nothing tells which one did."""
        if not self.limits:
            return ()
        answered = [part.model for part in bill.parts] or [bill.model_answered]
        found = [scopes for m, scopes in self.limits if any(a and same(m, a) for a in answered)]
        if not found:
            return ()
        spent = {scope for scopes in found for scope in scopes}
        return tuple(dict.fromkeys(s for _, scopes in self.limits for s in scopes if s not in spent))
