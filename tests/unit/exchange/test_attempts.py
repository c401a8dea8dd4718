"""Envoy's attempts: which are charged beside the exchange, and which entry belongs to which call."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.exchange.test_access_log_settlement import HELD, TICKET

from spendgate.exchange import attempts
from spendgate.exchange.attempts import Attempt, Call, Tries, beside, told
from spendgate.ledger.exchanges import BESIDE
from spendgate.records.outcome import ChargedBy, Outcome

ANSWERED = Call("r", "10.0.0.1:5", 1_000_000, 9_000_000, 3, True)
GIVEN_UP = replace(ANSWERED, answered=False)


def tried(status: int = 0, sent: bool = True, at: int = 1) -> Attempt:
    return Attempt("r", "10.0.0.1:5", at * 1_000_000, status, sent)


TIMED_OUT, ERROR, NOBODY = tried(), tried(500), tried(0, False)


@pytest.mark.parametrize(
    ("call", "known", "charged"),
    [
        (ANSWERED, [TIMED_OUT, TIMED_OUT], 2),
        (ANSWERED, [TIMED_OUT, ERROR], 1),
        (ANSWERED, [ERROR, NOBODY], 0),
        (ANSWERED, [TIMED_OUT], 2),
        (ANSWERED, [ERROR], 1),
        (ANSWERED, [], 2),
        (replace(ANSWERED, attempts=1), [], 0),
        (GIVEN_UP, [TIMED_OUT, TIMED_OUT, tried(at=3)], 2),
        (GIVEN_UP, [TIMED_OUT, TIMED_OUT, tried(500, at=3)], 2),
        (GIVEN_UP, [ERROR, NOBODY, tried(at=3)], 0),
        (GIVEN_UP, [NOBODY, NOBODY, NOBODY], 0),
        (GIVEN_UP, [], 2),
        (replace(GIVEN_UP, kept_from=True), [TIMED_OUT, TIMED_OUT], 2),
        (replace(GIVEN_UP, attempts=1), [TIMED_OUT], 0),
    ],
)
def test_each_attempt_that_may_be_billed_is_charged_but_the_exchange_s_own(
    call: Call, known: list[Attempt], charged: int
) -> None:
    assert beside(call, known) == charged


@given(
    call=st.builds(
        replace,
        st.just(ANSWERED),
        attempts=st.integers(1, 6),
        answered=st.booleans(),
        kept_from=st.booleans(),
    ),
    kinds=st.lists(st.sampled_from([TIMED_OUT, ERROR, NOBODY])),
)
def test_with_the_exchange_s_own_at_least_what_providers_may_bill_is_charged(
    call: Call, kinds: list[Attempt]
) -> None:
    known = [replace(a, started_us=a.started_us + n) for n, a in enumerate(kinds[: call.attempts])]
    if call.answered:
        known = known[: call.attempts - 1]
    count = beside(call, known)
    may_bill = sum(a.billable for a in known) + call.answered
    own = call.answered or (bool(known) and known[-1].billable and not call.kept_from)
    assert count + bool(own) >= may_bill
    assert count <= call.attempts


def test_a_call_is_told_of_whole_when_only_its_answer_is_missing() -> None:
    assert not told(ANSWERED, [ERROR])
    assert told(ANSWERED, [ERROR, TIMED_OUT])
    assert not told(GIVEN_UP, [ERROR, TIMED_OUT])
    assert told(replace(GIVEN_UP, kept_from=True), [ERROR, TIMED_OUT])


@pytest.mark.parametrize(
    "other",
    [
        replace(TIMED_OUT, request_id="s"),
        replace(TIMED_OUT, client="10.0.0.2:5"),
        replace(TIMED_OUT, started_us=999_999),
        replace(TIMED_OUT, started_us=9_001_001),
    ],
)
def test_the_attempts_of_others_are_left_alone(other: Attempt) -> None:
    tries = Tries()
    tries.add(other)
    assert tries.take(ANSWERED) == []
    assert len(tries) == 1


def test_an_envoy_that_does_not_say_which_client_is_understood() -> None:
    tries = Tries()
    tries.add(replace(TIMED_OUT, client=""))
    assert len(tries.take(ANSWERED)) == 1
    assert len(tries) == 0


def test_two_calls_with_one_id_share_their_attempts_out() -> None:
    tries = Tries()
    for at in (1, 2, 3, 4):
        tries.add(tried(at=at))
    assert [len(tries.take(ANSWERED)), len(tries.take(ANSWERED)), len(tries)] == [2, 2, 0]


def test_a_copy_is_no_attempt_of_the_call() -> None:
    tries = Tries()
    tries.add(replace(TIMED_OUT, mirrored=True, client=""))
    assert tries.of(ANSWERED) == []
    assert len(tries.take_mirrored(ANSWERED)) == 1


def test_what_is_never_asked_for_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "KEPT_MAX", 10)
    tries = Tries()
    for n in range(100):
        tries.add(replace(TIMED_OUT, request_id=str(n)))
    assert len(tries) == 10


def test_the_charge_is_the_hold_of_each_under_an_id_of_its_own() -> None:
    ending = attempts.ending(TICKET, 3)
    record, settlement = ending.record, ending.settlement
    assert settlement is not None
    assert settlement.exchange_id == record.exchange_id == TICKET.exchange_id + BESIDE
    assert settlement.cost_nanousd == record.cost_nanousd == 3 * HELD
    assert settlement.scopes == TICKET.scopes
    assert (record.outcome, record.unmetered, record.charged_by) == (
        Outcome.UNMETERED, "attempts", ChargedBy.HOLD
    )  # fmt: skip
    assert not settlement.release
    free = attempts.ending(TICKET, 0).settlement
    assert free is not None
    assert free.release
