"""The law: any request, any answer, any end, any fault: refused, or charged at least what the provider may bill.

What may be billed is worked out here by itself: the estimate that was asked of the ledger where output can be hidden or
nothing was read, else the input and the streamed tokens; a usage that was told; nothing where nothing was sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from unit.exchange.driver import NOW_MS, FakeLedger, chat, chat_answer, snapshot_of
from unit.exchange.test_exchange import SSE_DONE, SSE_HEAD, SSE_MORE, SSE_USAGE

from spendgate.exchange import envoy_replies, law, untold_cost
from spendgate.exchange import events as e
from spendgate.exchange import exchange as exchange_module
from spendgate.exchange.billing import at_hold
from spendgate.exchange.context import ExchangeContext
from spendgate.exchange.exchange import Exchange
from spendgate.exchange.states import TRANSITIONS, State
from spendgate.exchange.undecided import Bound
from spendgate.identity.identity import Caller
from spendgate.records.record import ExchangeResult
from spendgate.tokens.count import measure

SNAPSHOT = snapshot_of(
    """
{team: ml, monthlyBudgetUSD: 1000}
---
{team: zero, monthlyBudgetUSD: 0}
---
{team: audited, monthlyBudgetUSD: 0, mode: audit}
---
{team: routed, monthlyBudgetUSD: 1000, costRouting: {enabled: true, cheapModel: gpt-4o-mini, expensiveModel: o3}}
"""
)
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
REASON = b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}\n\n'
ERROR = b'data: {"error":{"message":"overloaded"}}\n\n'
SENT_ON = ("response_timeout", "upstream_reset_before_response_started{connection_termination}", "")
KEPT = (
    "no_healthy_upstream",
    "upstream_reset_before_response_started{connection_failure}",
    "rbac_access_denied",
)
MANY = SSE_MORE * 400
"""More than is held for a request with a cap of 1."""


@dataclass(frozen=True)
class Story:
    """One call. `ends_at`: after so many events of the answer it ends so (`by` None: a fault of ours)."""

    team: str
    body: bytes
    asks_hidden: bool
    is_stream: bool
    is_read: bool
    status: int
    details: str
    kind: str
    pieces: tuple[bytes, ...]
    said: bool
    ends_at: int
    by: e.EndedBy | None
    down: bool


BODIES = st.one_of(
    st.builds(
        lambda model, cap, stream, more: (
            orjson.dumps(chat(model=model, max_tokens=cap, **({"stream": True} if stream else {}), **more)),
            bool(more) or model in ("o3", "who-knows", "gpt-5"),
            stream,
            True,
        ),
        st.sampled_from(["gpt-4o", "gpt-4o-mini", "o3", "gpt-5", "who-knows"]),
        st.sampled_from([1, 1, 4000]),
        st.booleans(),
        st.sampled_from([{}, {}, {"reasoning_effort": "high"}, {"web_search_options": {}}]),
    ),
    st.sampled_from([b"", b"{", b"\xff\xfe{\x00}\x00", b'{"messages": 3}']).map(
        lambda b: (b, True, False, False)
    ),
)
STREAMS = st.lists(st.sampled_from([SSE_HEAD, SSE_MORE, FINISH, REASON, ERROR, MANY, MANY]), max_size=4)
STORIES = st.builds(
    lambda body, team, status, details, pieces, told, ends_at, by, down: Story(
        team, body[0], body[1], body[2], body[3], status, details,
        "text/event-stream" if body[2] else "application/json",
        (*pieces, *((SSE_USAGE, SSE_DONE) if told else ())) if body[2] else (chat_answer() if told else b"{",),
        told, ends_at, by, down,
    ),
    BODIES,
    st.sampled_from(["ml", "ml", "ml", "zero", "audited", "routed", "nobody"]),
    st.sampled_from([200, 200, 200, 200, 200, 504]),
    st.sampled_from([*["via_upstream"] * 12, *SENT_ON, *KEPT]),
    STREAMS,
    st.booleans(),
    st.integers(-3, 4),
    st.sampled_from([*(b for b in e.EndedBy if b is not e.EndedBy.FAULT), None]),
    st.booleans(),
)  # fmt: skip


class Life:
    """A story as it is lived."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.exchange = Exchange("x", SNAPSHOT, "r")
        self.endings: list[ExchangeResult] = []
        self.estimates: list[int] = []
        """What was asked of the ledger."""
        self.passed = self.is_over = self.told = self.failed = False
        self.flowed = 0
        self.kept = False
        """It is known that the provider made nothing of it."""
        self.hidden = False
        self.finished = False
        """Its choices are complete; a usage may follow, unless the answer then came to its own end."""
        self.by_itself = False
        """The answer came to an end of its own, though perhaps not to its last event."""

    def receive(self, event: e.Event) -> e.Action:
        action = self.exchange.receive(event)
        if (ending := self.exchange.take_ending()) is not None:
            self.endings.append(ending)
        return action

    def end(self) -> None:
        if self.is_over:
            return
        self.is_over = True
        by = self.story.by
        undecided = self.exchange.state in untold_cost.UNSENT
        if undecided and by in (None, e.EndedBy.LATE):
            self.passed = True  # Envoy sent it on as it was
        self.receive(e.InternalError("planted") if by is None else e.StreamClosed(by))
        self.receive(e.StreamClosed())

    def live(self) -> None:
        story, ledger = self.story, FakeLedger()
        given = {
            "content-type": "application/json",
            "x-llm-team": story.team,
            "content-length": str(len(story.body)),
        }
        self.receive(e.RequestHeaders("POST", "/v1/chat/completions", Caller(given, now_ms=NOW_MS)))
        if story.ends_at == -2:
            return self.end()
        if story.ends_at == -3:  # Envoy shows no body, and sends it
            self.passed = True
            return self.answer()
        action = self.receive(e.RequestBody(story.body, NOW_MS))
        while isinstance(action, e.NeedReserve | e.NeedCount):
            if isinstance(action, e.NeedReserve):
                self.estimates += [c.estimate_nanousd for c in action.request.candidates]
            if story.ends_at == -1:
                return self.end()
            if isinstance(action, e.NeedCount):
                action = self.receive(e.CountDone(measure(action.texts, action.text_bytes, exact=True)))
            elif story.down:
                action = self.receive(e.LedgerDown(True, 0, 0, NOW_MS))
            else:
                action = self.receive(e.ReserveDone(ledger.reserve(action)))
        if not isinstance(action, e.Forward):
            self.is_over = True
            return None
        self.passed = True
        assert self.exchange.state is not State.PASSING
        return self.end() if story.ends_at == 0 else self.answer()

    def answer(self) -> None:
        story = self.story
        local = not story.details.startswith("via_upstream")
        status = story.status if not local or story.status >= 500 else 503
        self.kept = (status >= 300 and not local) or (
            local and (story.details in KEPT or story.ends_at == -3)
        )
        headers = {":status": str(status), "content-type": story.kind}
        self.receive(e.ResponseHeaders(status, headers, local, details=story.details))
        for i, piece in enumerate(story.pieces, 1):
            if (
                e.ResponseChunk not in TRANSITIONS[self.exchange.state]
                or self.exchange.state is State.PASSING
            ):
                return self.end()
            if story.ends_at == i:
                return self.end()
            self._see(piece)
            self.receive(e.ResponseChunk(piece, False))
        if e.ResponseChunk in TRANSITIONS[self.exchange.state]:
            self.by_itself = True
            self.receive(e.ResponseChunk(b"", True))
        return self.end()

    def _see(self, piece: bytes) -> None:
        if self.endings:
            return
        self.told = self.told or piece is SSE_USAGE or (self.story.said and not self.story.is_stream)
        self.failed = self.failed or piece is ERROR
        self.hidden = self.hidden or piece is REASON
        self.finished = self.finished or piece is FINISH
        self.flowed += piece.count(b'"content"')

    @property
    def charged(self) -> int:
        """Nano-USD."""
        out = [x.settlement.cost_nanousd for x in self.endings if x.settlement and not x.settlement.release]
        return sum(out)

    @property
    def owed(self) -> int:
        """The least that the provider may bill."""
        story = self.story
        if self.kept:
            return 0
        if self.told and not self.failed:
            return 1  # what exactly, other tests say
        hidden = self.hidden or (self.finished and not self.by_itself)
        sees_all = story.is_read and story.is_stream and not (story.asks_hidden or hidden)
        if story.team == "routed":
            sees_all = story.is_read and story.is_stream and not hidden and _plain_body(story)
        if self.failed and not self.flowed and not self.hidden:
            return 0  # the provider's own error, before any output
        if sees_all and (self.by_itself or story.by in (e.EndedBy.CLIENT, e.EndedBy.PROVIDER)):
            return 1 + self.flowed  # at least a nano-dollar a token
        least = min(self.estimates, default=1)
        return max(least, 1 + self.flowed * (600 if story.team == "ml" else 0))


def _plain_body(story: Story) -> bool:
    return b"reasoning_effort" not in story.body and b"web_search" not in story.body


def check(story: Story) -> None:
    """The law, for one story."""
    life = Life(story)
    life.live()
    if not life.passed:
        assert life.charged == 0, "what never went on costs nothing"
        return
    assert story.team != "zero" or story.ends_at < 0 or story.down, "a budget of 0 admits nothing"
    if life.kept and story.ends_at == -3:
        return
    assert len(life.endings) == 1, "one exchange, one ending"
    assert life.charged >= life.owed, (life.charged, life.owed)
    [ending] = life.endings
    assert ending.held_nanousd > 0, "no hold on a metered path is zero"


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STORIES)
def test_whatever_happens_it_is_refused_or_charged_at_least_the_bill(story: Story) -> None:
    check(story)


def row(by: e.EndedBy, kind: law.Kind | None, charge: law.Charge) -> Callable[[pytest.MonkeyPatch], None]:
    """One row of the table is wrong; None: all of this end."""

    def mutate(patch: pytest.MonkeyPatch) -> None:
        table = {b: dict(rows) for b, rows in law.LAW.items()}
        for each in (kind,) if kind is not None else tuple(table[by]):
            table[by][each] = replace(table[by][each], charge=charge)
        patch.setattr(law, "LAW", table)

    return mutate


def put(where: object, name: str, value: object) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(where, name, value)


FLOWED, NOTHING = law.Charge.FLOWED, law.Charge.NOTHING
MUTATIONS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "a client that leaves hidden output pays what flowed": row(e.EndedBy.CLIENT, law.Kind.HIDDEN, FLOWED),
    "one that leaves an answer not streamed pays the input": row(e.EndedBy.CLIENT, law.Kind.WHOLE, FLOWED),
    "one that leaves a plain stream pays nothing": row(e.EndedBy.CLIENT, law.Kind.PLAIN, NOTHING),
    "what a drain leaves pays what flowed": row(e.EndedBy.DRAIN, law.Kind.PLAIN, FLOWED),
    "what Envoy gave up is free": row(e.EndedBy.ENVOY, law.Kind.WHOLE, NOTHING),
    "what was late is free": row(e.EndedBy.LATE, None, NOTHING),
    "a fault of ours is free": row(e.EndedBy.FAULT, law.Kind.WHOLE, NOTHING),
    "a provider that breaks off hidden output is paid what flowed": row(
        e.EndedBy.PROVIDER, law.Kind.HIDDEN, FLOWED
    ),
    "no model reasons": put(untold_cost, "may_reason", lambda _: False),
    "nobody asks for hidden output": put(untold_cost, "can_hide", lambda *_: False),
    "Envoy's own answers are the provider's": put(envoy_replies, "may_be_sent", lambda *_: False),
    "what is read by nobody has no bound": put(exchange_module, "bound", lambda _: Bound("", 0)),
    "what passes undecided holds nothing": put(ExchangeContext, "hold_unmade", lambda *_: None),
    "a hold is the most, whatever flowed": put(
        untold_cost, "bill_of", lambda r, _, held: at_hold(held, r.unmetered)
    ),
}


@lru_cache(maxsize=1)
def stories() -> tuple[Story, ...]:
    """The same ones each time."""
    told: list[Story] = []
    settings(
        max_examples=2000, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )(given(STORIES)(lambda story: told.append(story)))()  # fmt: skip
    return tuple(told)


@pytest.mark.parametrize("what", MUTATIONS)
def test_the_law_sees_each_guard_fall(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTATIONS[what](monkeypatch)
    with pytest.raises(AssertionError):
        for story in stories():
            check(story)
