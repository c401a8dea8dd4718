"""What can be asked of an exchange between its events: where it stands, what it holds, what others are told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from spendgate.dialects.base import Dialect
from spendgate.exchange import untold_cost
from spendgate.exchange.context import Decided, ExchangeContext
from spendgate.exchange.handover import Handover, plain_host
from spendgate.exchange.response import Response, StreamedResponse
from spendgate.exchange.states import State
from spendgate.exchange.ticket import SettlementTicket
from spendgate.identity import headers as h
from spendgate.identity.identity import Identity
from spendgate.ledger.exchanges import Growing, Grown, ReserveRequest, group_account


class ExchangeView:
    """An exchange as its adapters see it, apart from the events."""

    __slots__ = ("_answer_body", "_case", "_last", "state")

    state: State
    _case: ExchangeContext
    _last: bool
    """No other gateway of ours meters after this one."""
    _answer_body: Response | None

    @property
    def exchange_id(self) -> str:
        """Its name, also that of its reservation."""
        return self._case.exchange_id

    @property
    def holds(self) -> tuple[str, str] | None:
        """(team, exchange id) while a reservation is held, for renewing."""
        if self._case.held_nanousd is None or self.state in (State.ENDED, State.BROKEN):
            return None
        return (self._case.identity.team, self._case.exchange_id)

    @property
    def holds_in_groups(self) -> tuple[tuple[str, str], ...]:
        """(account, exchange id) of what is held in groups, for renewing."""
        if self.holds is None:
            return ()
        return tuple((group_account(name), self._case.exchange_id) for name in self._case.held_in_groups)

    def growing(self) -> tuple[Growing, ...]:
        """What its hold is to be by what has flowed, in each account; nothing where it does not grow."""
        case, answer = self._case, self._answer_body
        if self.holds is None or self.state is not State.STREAM or not case.is_fitted:
            return ()
        return case.growing(untold_cost.flowed(case, answer, self.state).cost_nanousd)

    def grown(self, grown: Grown) -> None:
        """What its hold is now, and what is left besides: so much a stream that may be cut may cost."""
        self._case.reserved_nanousd = grown.held_nanousd
        answer = self._answer_body
        if isinstance(answer, StreamedResponse) and answer.limited and grown.room_nanousd >= 0:
            answer.limit(grown.held_nanousd + grown.room_nanousd)

    def hold_again(self) -> ReserveRequest | None:
        """What is held, asked for once more without a limit: for a ledger that does not know it (any more)."""
        return None if self.holds is None else self._case.hold_again()

    @property
    def identity(self) -> Identity:
        """Who asks."""
        return self._case.identity

    @property
    def target(self) -> str:
        """The raw path with its query, "" where no dialect claims it."""
        return self._case.target

    @property
    def host(self) -> str:
        """The host that the client named."""
        return self._case.address.host

    @property
    def handover_word(self) -> str:
        """What the gateway before this one may have said; "" where the next one is to hear it."""
        case = self._case
        return case.headers.get(h.HANDOVER, "") if self.state is State.AWAIT_BODY and self._last else ""

    def take_over(self, told: Handover) -> None:
        """Meter in the stead of the gateway before this one, as it decided: its caller, and its model."""
        case = self._case
        case.taken_over = told
        case.identity = Identity(told.team, told.app, told.user, told.run, told.tags)
        case.require_model = told.model

    def hand_over(self, digest: str, path: str, until_ms: int) -> Handover | None:
        """What the next gateway is told; None where this is the last one, or nothing is metered."""
        return None if self._last else self._told(digest, path, until_ms)

    def leave(self) -> Handover | None:
        """What a next pass of the same call is told, should its end be an internal redirect of Envoy's; None where
        nothing is held in the ledger, or an answer began."""
        case = self._case
        if case.fail_open or not case.held or case.handed_over:
            return None
        told = self._told("", "", 0)
        hidden = case.facts is not None and case.facts.usage_hidden
        return replace(told, usage_hidden=hidden) if told is not None else None

    def _told(self, digest: str, path: str, until_ms: int) -> Handover | None:
        case = self._case
        if self.state is not State.FORWARDED or case.facts is None:
            return None
        case.handed_over = True
        who = case.identity
        requested = case.require_model or case.facts.model
        return Handover(
            case.exchange_id, who.team, who.app, who.user, who.run, requested, case.sent, case.decision,
            case.reason, until_ms, digest, path, plain_host(case.address.host), tags=who.tags,
            groups=case.held_in_groups,
        )  # fmt: skip

    @property
    def handed_over(self) -> bool:
        """Does the next gateway meter this call?"""
        return self._case.handed_over

    @property
    def goes_unseen(self) -> bool:
        """Is it forwarded, and is its answer Envoy's access log to tell of (lean)?"""
        return self._case.unseen and self.state is State.FORWARDED

    @property
    def decided(self) -> Decided:
        """What was decided about a request that was forwarded."""
        return self._case.decided

    @property
    def ticket(self) -> SettlementTicket:
        """What another worker needs to end a forwarded exchange, whose answer this one will not see."""
        if self.state is not State.FORWARDED:
            raise ValueError(f"no ticket in state {self.state.value}")
        ticket = self._case.ticket(self._case.sent)
        if not self._case.unseen:
            return ticket
        kind = untold_cost.kind_of(self._case, None, self.state)
        return replace(ticket, kind=kind.value, aborted_flowed=self._case.aborted_flowed)

    @property
    def answer_headers(self) -> tuple[tuple[str, str], ...]:
        """What the answer of a forwarded request says about the decision."""
        return self._case.answer_headers()

    @property
    def is_undecided(self) -> bool:
        """Would Envoy, left alone, send on a request that was not decided about?"""
        return self._case.dialect is not None and self.state in untold_cost.UNSENT

    @property
    def hides_usage(self) -> bool:
        """Is a usage to be taken out of the answer, or of what there is still to come of it?"""
        answer, facts = self._answer_body, self._case.facts
        if isinstance(answer, StreamedResponse):
            return self.state is State.STREAM and answer.hides_usage
        return self.state is State.FORWARDED and facts is not None and facts.usage_hidden

    @property
    def is_packed(self) -> bool:
        """Is the answer compressed? Then a short piece of it may be a long one."""
        return self._answer_body is not None and self._answer_body.is_packed

    @property
    def is_coded(self) -> bool:
        """Is the request's body compressed, so that it may be much longer than it is?"""
        return "content-encoding" in self._case.headers

    @property
    def dialect(self) -> Dialect | None:
        """The request's dialect, None where no dialect claims it."""
        return self._case.dialect

    @property
    def headers(self) -> Mapping[str, str]:
        """The request's headers by lower-case name; none where no dialect claims it."""
        return self._case.headers
