"""Envoy's attempts at one call: which of them a provider may bill, beside the one that its exchange is charged. Pure.

The router writes an access log entry for each request that it sent upstream (`upstream_log`), the listener one for
the whole call. Both reach one worker on one stream, since a call lives on one thread of Envoy; it may be another
worker than the one that saw the call. What the listener's entry needs for the bill, a ticket, is in Envoy's dynamic
metadata; the router's entry has none of it (measured on 1.36 to 1.40), so that it is found by the request's id, by
when it was sent, and, as of 1.38, by the client's connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from spendgate.exchange import billing
from spendgate.exchange.ticket import SettlementTicket
from spendgate.ledger.exchanges import BESIDE
from spendgate.money import LEDGER_MAX_NANOUSD
from spendgate.records.record import ExchangeResult
from spendgate.values import dataclass

REASON = "attempts"
SLACK_US = 1_000
"""The ends of calls are told by another of Envoy's clocks than the starts of attempts."""
SHADOW = "-shadow"
"""What Envoy adds to the host of a mirrored request, which has no client's connection either."""
KEPT_MAX = 10_000
"""Entries of attempts whose call is not over, a stream of the access log. One that falls out counts as billed."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to a provider, as the router's entry tells it. Times in microseconds.

    `status` 0: nothing was answered. `sent`: the provider got its first byte. `client`: the connection it came by, ""
    where Envoy does not say."""

    request_id: str
    client: str
    started_us: int
    status: int
    sent: bool
    mirrored: bool = False
    """A copy that Envoy sent to somebody else (`request_mirror_policies`); its answer reaches nobody."""

    @property
    def billable(self) -> bool:
        """May the provider bill it? It was sent, and neither refused nor answered by an error: it timed out, was
        reset, or is one of two that were sent at once."""
        return self.sent and self.status < 300


@dataclass(frozen=True, slots=True)
class Call:
    """One call, as the listener's entry tells it. `attempts` as Envoy counts them. `answered`: by a provider, and
    not by Envoy itself. `kept_from`: the last attempt found nobody to send to."""

    request_id: str
    client: str
    started_us: int
    ended_us: int
    attempts: int
    answered: bool
    kept_from: bool = False

    def has(self, attempt: Attempt) -> bool:
        """Was this attempt made for it?"""
        return (
            self.started_us <= attempt.started_us <= self.ended_us + SLACK_US
            and attempt.request_id == self.request_id
            and (not attempt.client or attempt.client == self.client)
        )


def told(call: Call, attempts: Sequence[Attempt]) -> bool:
    """Is every attempt accounted for, but the one that was answered?"""
    return len(attempts) + call.answered + call.kept_from >= call.attempts


def beside(call: Call, attempts: Iterable[Attempt]) -> int:
    """How many attempts are charged beside the exchange, each its hold. `attempts`: those of this call, without the one
    that was answered. One that nothing is told of is charged, too: it may have been sent.

    The exchange itself is charged for one: the answer, else its last attempt."""
    known = sorted(attempts, key=lambda a: a.started_us)
    paid = sum(a.billable for a in known)
    untold = max(0, call.attempts - call.answered - call.kept_from - len(known))
    last_is_its_own = (
        not call.answered and not call.kept_from and (not known or known[-1].billable or untold > 0)
    )
    return max(0, paid + untold - last_is_its_own)


def ending(ticket: SettlementTicket, count: int, which: str = "") -> ExchangeResult:
    """The charge for so many attempts beside an exchange: the same whoever makes it, and made once. `which`: apart
    from others of the same exchange."""
    held = min((ticket.held_nanousd or 0) * count, LEDGER_MAX_NANOUSD)
    own = replace(
        ticket,
        exchange_id=f"{ticket.exchange_id}{which}{BESIDE}",
        held_nanousd=held,
        attempts=count,
        fail_open=False,
    )
    return own.ending(billing.at_hold(held, REASON), release=count == 0)


class Tries:
    """The attempts that access logs told of, until their call is over. The oldest are let go where there are too
    many."""

    __slots__ = ("_by_request", "_count")

    def __init__(self) -> None:
        self._by_request: dict[str, list[Attempt]] = {}
        self._count = 0

    def add(self, attempt: Attempt) -> None:
        """Remember one."""
        self._by_request.setdefault(attempt.request_id, []).append(attempt)
        self._count += 1
        while self._count > KEPT_MAX:
            oldest = self._by_request.pop(next(iter(self._by_request)))
            self._count -= len(oldest)

    def of(self, call: Call) -> list[Attempt]:
        """Those of a call; they stay. At most as many as it had: a client may give two calls at once one id."""
        return self._of(call, mirrored=False)[: max(0, call.attempts - call.answered)]

    def take(self, call: Call) -> list[Attempt]:
        """Those of a call; they are gone."""
        return self._remove(call.request_id, self.of(call))

    def take_mirrored(self, call: Call) -> list[Attempt]:
        """The copies that were sent elsewhere; they are gone."""
        return self._remove(call.request_id, self._of(call, mirrored=True))

    def _of(self, call: Call, *, mirrored: bool) -> list[Attempt]:
        known = self._by_request.get(call.request_id, ())
        return [a for a in known if a.mirrored is mirrored and call.has(a)]

    def _remove(self, request_id: str, mine: list[Attempt]) -> list[Attempt]:
        if mine:
            gone = {id(a) for a in mine}
            left = [a for a in self._by_request[request_id] if id(a) not in gone]
            self._count -= len(mine)
            if left:
                self._by_request[request_id] = left
            else:
                del self._by_request[request_id]
        return mine

    def __contains__(self, request_id: str) -> bool:
        """Was any attempt at a request of this id told of, and not taken?"""
        return request_id in self._by_request

    def __len__(self) -> int:
        return self._count
