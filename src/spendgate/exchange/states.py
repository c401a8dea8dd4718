"""The states of an exchange and the moves between them, as data: the whole machine at a glance.

A row reads: in this state, on this event, a step that decides so leads to that state. `Exchange.receive` looks the next
state up here and sets it; nothing else sets it. What is not listed is illegal: the adapter answers it with
InternalError, which lets traffic pass and charges what is held. What an exchange is charged where the table leads to
ENDED or BROKEN before its response told is `law.LAW`.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from spendgate.exchange import events as e


class State(Enum):
    """Where an exchange stands."""

    __hash__ = object.__hash__  # each member is one object; Enum's own hash is a call into Python

    START = "start"
    """Nothing was seen of it."""
    AWAIT_BODY = "await_body"
    """It is ours; the body is being buffered by Envoy."""
    COUNTING = "counting"
    """Its tokens are being counted exactly, off the event loop."""
    RESERVING = "reserving"
    """The ledger was asked."""
    FORWARDED = "forwarded"
    """The request went to the provider; the reservation, if any, is held."""
    JSON = "json"
    """A whole response is being collected."""
    STREAM = "stream"
    """A stream is being metered."""
    PASSING = "passing"
    """Nothing of it is ours, or nothing more."""
    ENDED = "ended"
    """Settled, released or rejected: exactly once."""
    BROKEN = "broken"
    """A fault of ours; traffic passes."""


class Verdict(Enum):
    """What a step decided."""

    __hash__ = object.__hash__

    PASS = "pass"
    """Leave it alone from here on."""
    AWAIT_BODY = "await body"
    """It is ours: show its body."""
    COUNT = "count"
    """A rough count would decide: count exactly."""
    RESERVE = "reserve"
    """Ask the ledger, for each candidate in its order."""
    FORWARD = "forward"
    """Send it to the provider."""
    ANSWER = "answer"
    """Answered here in the provider's stead: a rejection, or what the caller has left."""
    COLLECT = "collect"
    """The response is read as one document."""
    METER = "meter"
    """The response is metered as a stream."""
    STAY = "stay"
    """Nothing ends here."""
    END = "end"
    """It is over."""
    BREAK = "break"
    """A fault of ours: everything passes from here on."""


class RejectedRequest(NamedTuple):
    """A request that the budget refuses: for which model, what it would have held (nano-USD), and what is the same
    in all tries of it. 0 and "" for a try that its SDK says is a repetition: it is counted once."""

    model: str
    estimate_nanousd: int = 0
    repeat_key: str = ""


class Step(NamedTuple):
    """What a step decided, what is to be done, and what was refused, if anything was."""

    verdict: Verdict
    action: e.Action
    refused: RejectedRequest | None = None


S, V = State, Verdict
Moves = dict[type, dict[Verdict, State]]

_END = {V.END: S.ENDED}
_OPEN: Moves = {e.StreamClosed: _END, e.InternalError: {V.BREAK: S.BROKEN}}
"""What can come in every state in which something is open."""
_UNSENT: Moves = {**_OPEN, e.Withdrawn: _END}
_REQUEST = (e.RequestBody, e.CountDone, e.ReserveDone, e.LedgerDown)
_RESPONSE = (e.ResponseHeaders, e.ResponseChunk)

TRANSITIONS: dict[State, Moves] = {
    S.START: {
        e.RequestHeaders: {V.AWAIT_BODY: S.AWAIT_BODY, V.PASS: S.PASSING, V.ANSWER: S.ENDED},
        **_UNSENT,
    },
    S.AWAIT_BODY: {
        e.RequestBody: {
            V.COUNT: S.COUNTING,
            V.RESERVE: S.RESERVING,
            V.PASS: S.PASSING,
            V.ANSWER: S.ENDED,
        },
        e.Busy: {V.ANSWER: S.ENDED},
        # Envoy's own 413 comes without a body, and so does what passed it by
        e.ResponseHeaders: {
            V.ANSWER: S.ENDED,
            V.COLLECT: S.JSON,
            V.METER: S.STREAM,
            V.PASS: S.PASSING,
        },
        **_UNSENT,
    },
    S.COUNTING: {
        e.CountDone: {V.RESERVE: S.RESERVING, V.ANSWER: S.ENDED},
        **_UNSENT,
    },
    S.RESERVING: {
        e.ReserveDone: {
            V.FORWARD: S.FORWARDED,
            V.COUNT: S.COUNTING,
            V.RESERVE: S.RESERVING,  # asked again: others' holds may end
            V.ANSWER: S.ENDED,
        },
        e.LedgerDown: {V.FORWARD: S.FORWARDED, V.ANSWER: S.ENDED},
        **_UNSENT,
    },
    S.FORWARDED: {
        e.ResponseHeaders: {V.COLLECT: S.JSON, V.METER: S.STREAM, V.PASS: S.PASSING},
        **_UNSENT,
    },
    S.JSON: {
        e.ResponseHeaders: {V.PASS: S.PASSING},  # Envoy's own, in the response's stead: it was too large
        e.ResponseChunk: {
            V.STAY: S.JSON,
            V.METER: S.STREAM,
            V.END: S.ENDED,
        },  # its first bytes may show a stream
        **_OPEN,
    },
    S.STREAM: {
        e.ResponseHeaders: {V.PASS: S.PASSING},
        e.ResponseChunk: {V.STAY: S.STREAM, V.END: S.ENDED},
        **_OPEN,
    },
    S.PASSING: {
        e.RequestBody: {V.STAY: S.PASSING},
        e.ResponseHeaders: {V.STAY: S.PASSING},
        e.ResponseChunk: {V.STAY: S.PASSING},
        e.StreamClosed: {V.END: S.ENDED},
        e.InternalError: {V.STAY: S.PASSING},
    },
    S.ENDED: {event: {V.STAY: S.ENDED} for event in (*_RESPONSE, e.StreamClosed, e.InternalError)},
    S.BROKEN: {
        event: {V.STAY: S.BROKEN} for event in (*_REQUEST, *_RESPONSE, e.StreamClosed, e.InternalError)
    },
}
IDLE = frozenset({S.PASSING, S.ENDED, S.BROKEN})
"""Nothing is open: whatever comes passes."""


class IllegalEvent(Exception):
    """An event that the state does not allow: a fault of the adapter or of Envoy, never of a client."""

    def __init__(self, state: State, event: object) -> None:
        super().__init__(f"{type(event).__name__} is illegal in state {state.value}")
