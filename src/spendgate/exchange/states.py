"""The states of an exchange and the moves between them, as data.

A row reads: in this state, this event is legal, and leads to one of these states. What is not listed is
illegal and ends the exchange in BROKEN, which lets traffic pass and settles what is held. What an exchange is charged
where the table leads to ENDED or BROKEN before its answer told is `law.LAW`.
"""

from __future__ import annotations

from enum import Enum

from spendgate.exchange import events as e


class State(Enum):
    """Where an exchange stands."""

    __hash__ = object.__hash__  # each member is one object; Enum's own hash is a call into Python

    START = "start"
    AWAIT_BODY = "await_body"
    """It is ours; the body is being buffered by Envoy."""
    COUNTING = "counting"
    RESERVING = "reserving"
    FORWARDED = "forwarded"
    """The request went to the provider; the reservation, if any, is held."""
    JSON = "json"
    """A whole answer is being collected."""
    STREAM = "stream"
    """A stream is being metered."""
    PASSING = "passing"
    """Nothing of it is ours, or nothing more."""
    ENDED = "ended"
    """Settled, released or refused: exactly once."""
    BROKEN = "broken"
    """A fault of ours; traffic passes."""


S = State
Moves = dict[type, frozenset[State]]


def _to(*states: State) -> frozenset[State]:
    return frozenset(states)


TRANSITIONS: dict[State, Moves] = {
    S.START: {
        e.RequestHeaders: _to(S.AWAIT_BODY, S.PASSING, S.ENDED),
        e.Withdrawn: _to(S.ENDED),
        e.Over: _to(S.ENDED),
        e.Broke: _to(S.BROKEN),
    },
    S.AWAIT_BODY: {
        e.RequestBody: _to(S.COUNTING, S.RESERVING, S.FORWARDED, S.PASSING, S.ENDED),
        e.Busy: _to(S.ENDED),
        # Envoy's own 413 comes without a body, and so does what passed it by
        e.ResponseHeaders: _to(S.PASSING, S.ENDED, S.JSON, S.STREAM),
        e.Withdrawn: _to(S.ENDED),
        e.Over: _to(S.ENDED),
        e.Broke: _to(S.BROKEN),
    },
    S.COUNTING: {
        e.CountDone: _to(S.RESERVING, S.ENDED),
        e.Withdrawn: _to(S.ENDED),
        e.Over: _to(S.ENDED),
        e.Broke: _to(S.BROKEN),
    },
    S.RESERVING: {
        e.ReserveDone: _to(
            S.FORWARDED, S.COUNTING, S.RESERVING, S.ENDED
        ),  # asked again: others' holds may end
        e.LedgerDown: _to(S.FORWARDED, S.ENDED),
        e.Withdrawn: _to(S.ENDED),
        e.Over: _to(S.ENDED),
        e.Broke: _to(S.BROKEN),
    },
    S.FORWARDED: {
        e.ResponseHeaders: _to(S.JSON, S.STREAM, S.PASSING),
        e.Withdrawn: _to(S.ENDED),
        e.Over: _to(S.ENDED),
        e.Broke: _to(S.BROKEN),
    },
    S.JSON: {
        e.ResponseHeaders: _to(S.PASSING),  # Envoy's own, in the answer's stead: it was too large
        e.ResponsePiece: _to(S.JSON, S.STREAM, S.ENDED),  # its first bytes may show a stream
        e.Over: _to(S.ENDED),
        e.Broke: _to(S.BROKEN),
    },
    S.STREAM: {
        e.ResponseHeaders: _to(S.PASSING),
        e.ResponsePiece: _to(S.STREAM, S.ENDED),
        e.Over: _to(S.ENDED),
        e.Broke: _to(S.BROKEN),
    },
    S.PASSING: {
        e.RequestBody: _to(S.PASSING),
        e.ResponseHeaders: _to(S.PASSING),
        e.ResponsePiece: _to(S.PASSING),
        e.Over: _to(S.ENDED),
        e.Broke: _to(S.PASSING),
    },
    S.ENDED: {
        e.ResponseHeaders: _to(S.ENDED),
        e.ResponsePiece: _to(S.ENDED),
        e.Over: _to(S.ENDED),
        e.Broke: _to(S.ENDED),
    },
    S.BROKEN: {
        e.RequestBody: _to(S.BROKEN),
        e.CountDone: _to(S.BROKEN),
        e.ReserveDone: _to(S.BROKEN),
        e.LedgerDown: _to(S.BROKEN),
        e.ResponseHeaders: _to(S.BROKEN),
        e.ResponsePiece: _to(S.BROKEN),
        e.Over: _to(S.BROKEN),
        e.Broke: _to(S.BROKEN),
    },
}


class IllegalEvent(Exception):
    """An event that the state does not allow: a fault of the adapter or of Envoy, never of a client."""

    def __init__(self, state: State, event: object) -> None:
        super().__init__(f"{type(event).__name__} is illegal in state {state.value}")
