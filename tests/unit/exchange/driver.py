"""Drives an exchange without wire, store or clock: the ledger is the pure mirror of its script."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from textwrap import dedent
from typing import Any

import orjson

from spendgate.budget.evaluate import evaluate
from spendgate.budget.load import policy_from_documents
from spendgate.budget.policy import Policy
from spendgate.exchange import events as e
from spendgate.exchange.exchange import Exchange
from spendgate.exchange.snapshot import Snapshot, snapshot
from spendgate.identity.identity import Caller
from spendgate.ledger.exchanges import Refusal, ReserveResult
from spendgate.pricing.load import table
from spendgate.records.record import ExchangeResult
from spendgate.settings.config import Settings
from spendgate.tokens.count import measure

NOW_MS = 1_795_521_600_000  # 2026-11-24T12:00:00Z
PRICES = table()


def policy_of(text: str = "") -> Policy:
    """A policy from YAML of specs: `team: …` documents without their envelope."""
    import yaml

    documents = []
    for i, spec in enumerate(yaml.safe_load_all(dedent(text)) if text else ()):
        documents.append(
            {
                "apiVersion": "ai.systemhardening.com/v1",
                "kind": "LLMBudget",
                "metadata": {"name": f"b{i}", "namespace": "test"},
                "spec": spec,
            }
        )
    return policy_from_documents(documents)


def snapshot_of(text: str = "", **settings: object) -> Snapshot:
    """A snapshot with these budgets and settings."""
    return snapshot(policy_of(text), PRICES, Settings.model_validate(settings))


class FakeLedger:
    """Committed amounts by team and scope, of which what is reserved here is held, and the rest settled; reserve as
    the script would."""

    def __init__(self, **month: int) -> None:
        self.committed: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for team, nano in month.items():
            self.committed[team.replace("_", "-")]["month"] = nano
        self.held: dict[str, tuple[str, int, tuple[str, ...]]] = {}

    def reserve(self, need: e.NeedReserve) -> ReserveResult:
        request = need.request
        books = self.committed[request.team]
        held: dict[str, int] = defaultdict(int)
        for team, amount, scopes in self.held.values():
            for scope in scopes if team == request.team else ():
                held[scope] += amount
        settled = {scope: amount - held[scope] for scope, amount in books.items()}
        verdict = evaluate(request.candidates, settled, held)
        bounds = request.candidates[verdict.candidate].bounds if verdict.candidate >= 0 else ()
        if verdict.candidate >= 0:
            scopes = tuple(b.scope for b in request.candidates[verdict.candidate].bounds)
            for scope in scopes:
                books[scope] += verdict.held_nanousd
            self.held[request.exchange_id] = (request.team, verdict.held_nanousd, scopes)
        return ReserveResult(
            candidate=verdict.candidate,
            held_nanousd=verdict.held_nanousd,
            output_cap=verdict.output_cap,
            settled_nanousd=settled.get("month", 0),
            reserved_nanousd=held["month"] + verdict.held_nanousd,
            at_ms=NOW_MS,
            refusals=tuple(
                Refusal(r.candidate, r.bound, r.settled_nanousd, r.reserved_nanousd, r.held)
                for r in verdict.refusals
            ),
            counters=tuple((settled.get(b.scope, 0), held[b.scope] + verdict.held_nanousd) for b in bounds),
            in_flight=tuple((0, amount) for team, amount, _ in self.held.values() if team == request.team),
        )

    def settle(self, ending: ExchangeResult) -> None:
        s = ending.settlement
        if s is None:
            return
        team, held, scopes = self.held.pop(s.exchange_id, (s.team, 0, tuple(x for x, _ in s.scopes)))
        for scope in scopes:
            spent = 0 if s.release or scope in s.unspent else s.cost_nanousd
            self.committed[team][scope] += spent - held


class Drive:
    """One exchange from request to answer."""

    def __init__(self, snap: Snapshot, ledger: FakeLedger | None = None, exchange_id: str = "x1") -> None:
        self.ledger = ledger or FakeLedger()
        self.exchange = Exchange(exchange_id, snap, "req-1")
        self.endings: list[ExchangeResult] = []

    def _take(self) -> None:
        ending = self.exchange.take_ending()
        if ending is not None:
            self.endings.append(ending)
            self.ledger.settle(ending)

    @property
    def ending(self) -> ExchangeResult:
        assert len(self.endings) == 1, self.endings
        return self.endings[0]

    def send(
        self,
        body: Mapping[str, object] | bytes,
        *,
        path: str = "/v1/chat/completions",
        headers: dict[str, str] | None = None,
        method: str = "POST",
        end: bool = False,
        ledger_down: e.LedgerDown | None = None,
    ) -> e.Action:
        """Send headers and body; answers what the exchange asks for; returns the last action."""
        given = {"content-type": "application/json", "x-llm-team": "ml", "x-llm-app": "chat"} | (
            headers or {}
        )
        action = self.exchange.receive(e.RequestHeaders(method, path, Caller(given), end))
        if not isinstance(action, e.AwaitBody):
            self._take()
            return action
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        action = self.exchange.receive(e.RequestBody(raw, NOW_MS))
        while isinstance(action, e.NeedReserve | e.NeedCount):
            if isinstance(action, e.NeedCount):
                counted = measure(action.texts, action.text_bytes, exact=True)
                action = self.exchange.receive(e.CountDone(counted))
            elif ledger_down is not None:
                action = self.exchange.receive(ledger_down)
            else:
                action = self.exchange.receive(e.ReserveDone(self.ledger.reserve(action)))
        self._take()
        return action

    def answer(self, status: int = 200, content_type: str = "application/json", **more: Any) -> e.Action:
        """Give the answer's headers."""
        headers = {":status": str(status), "content-type": content_type}
        headers |= more.pop("headers", {})
        action = self.exchange.receive(e.ResponseHeaders(status, headers, **more))
        self._take()
        return action

    def piece(self, data: bytes, end: bool = False) -> e.Action:
        """Give a piece of the answer's body."""
        action = self.exchange.receive(e.ResponseChunk(data, end))
        self._take()
        return action

    def over(self) -> None:
        """End the call."""
        self.exchange.receive(e.StreamClosed())
        self._take()


def chat(**more: object) -> dict[str, object]:
    """A small chat request with an output limit."""
    return {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 100,
    } | more


def chat_answer(prompt: int = 10, completion: int = 5, model: str = "gpt-4o") -> bytes:
    """Its answer with usage."""
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    return orjson.dumps(
        {"id": "c", "object": "chat.completion", "model": model, "choices": [choice], "usage": usage}
    )
