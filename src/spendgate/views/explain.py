"""A dry run of one request: the gateway's own decision on given spend, as data. Nothing is reserved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

import orjson

from spendgate.budget.ask import Choice
from spendgate.budget.evaluate import evaluate, to_hold
from spendgate.budget.ratios import Ratios
from spendgate.dialects import registry
from spendgate.dialects.base import NO_HEADERS
from spendgate.errors import RequestError
from spendgate.exchange import events as e
from spendgate.exchange.exchange import Exchange
from spendgate.exchange.planning import gather
from spendgate.exchange.request_facts import read_facts
from spendgate.exchange.snapshot import Address, Snapshot
from spendgate.identity.extractors import HeaderExtractor
from spendgate.identity.identity import Caller, Identity
from spendgate.ledger.exchanges import Refusal, ReserveResult
from spendgate.money import nano_to_usd
from spendgate.tokens.bound import input_bound
from spendgate.tokens.count import measure
from spendgate.values import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """What a dry run is decided on. `settled` and `held`: by key of a bound (`month`, `model:gpt-4o`, …) in its unit;
    `ratios`: what learned holds rest on, by model; `last_settled`: what last month settled, for what it leaves over."""

    settled: Mapping[str, int]
    held: Mapping[str, int] = field(default_factory=dict)
    ratios: Mapping[str, Ratios] = field(default_factory=dict)
    last_settled: Mapping[str, int | None] = field(default_factory=dict)


def guess_path(body: bytes) -> str:
    """The path that a body like this is sent to: Anthropic's demand `max_tokens`, and have `system` or
    Claude models; all else is taken for OpenAI's chat."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as problem:
        raise RequestError(f"not JSON: {problem}") from problem
    if not isinstance(document, dict):
        raise RequestError('not a JSON object; write a request body, {"model": …, "messages": […]}')
    claude = str(document.get("model", "")).startswith("claude")
    anthropic = "system" in document or (claude and "max_tokens" in document)
    return registry.by_name("anthropic-messages" if anthropic else "openai-chat").paths[0]


def explain(
    snapshot: Snapshot,
    identity: Identity,
    body: bytes,
    path: str,
    require_model: str,
    standing: Standing,
    now_ms: int,
) -> dict[str, Any]:
    """Decide a request for a team that stands so. Raises RequestError."""
    path = path or guess_path(body)
    dialect = registry.find("POST", path.partition("?")[0], "application/json")
    if dialect is None:
        raise RequestError(
            f"no dialect claims the path {path}; "
            f"those of {', '.join(d.name for d in registry.DIALECTS)} are metered"
        )
    facts = read_facts(dialect, body, path, NO_HEADERS, snapshot).facts
    counted = measure(facts.texts, facts.text_bytes, exact=True)
    address = Address(dialect.name, path.partition("?")[0])
    planned = gather(
        snapshot, identity, dialect.name, facts, counted, require_model, "explain", now_ms, address
    )
    out: dict[str, Any] = {
        "team": identity.team,
        "app": identity.app,
        "dialect": dialect.name,
        "model_requested": require_model or facts.model,
        "input_tokens": counted.tokens,
        "input_tokens_bound": input_bound(counted, facts.model, "tools" in facts.needs)
        + facts.extra_input_tokens,
        "output_cap": planned.choices[-1].quote.output_cap if planned.choices else facts.output_cap,
        "candidates": [_candidate(c, standing.ratios) for c in planned.choices],
        "price_version": snapshot.prices.version,
        "policy_version": snapshot.policy.version,
    }
    return out | _outcome(snapshot, identity, body, path, require_model, standing, now_ms)


def _error(body: dict[str, Any]) -> dict[str, Any]:
    """What a refusal says, in whichever dialect's shape: an object `error`, its text, or the top level."""
    error = body.get("error")
    if isinstance(error, str):
        return {**body, "message": error}
    return error if isinstance(error, dict) else body


def _candidate(choice: Choice, ratios: Mapping[str, Ratios]) -> dict[str, Any]:
    c = choice.candidate
    known = ratios.get(c.model)
    return {
        "model": c.model,
        "reason": choice.reason or "as asked",
        "estimate_usd": nano_to_usd(c.estimate_nanousd),
        "holds_usd": nano_to_usd(to_hold(c, ratios)),
        "samples": None if c.learned is None else 0 if known is None else known.samples,
        "samples_needed": None if c.learned is None else c.learned.samples,
        "priced_as": choice.quote.priced_as or c.model,
        "from_usd": nano_to_usd(c.used_from_nanousd) if c.used_from_nanousd else None,
        "below_usd": nano_to_usd(c.used_below_nanousd) if c.used_below_nanousd >= 0 else None,
        "bounds": [
            {
                "scope": b.key,
                "reason": b.reason,
                "limit_usd": nano_to_usd(b.floor_nanousd)
                if b.floor_nanousd >= 0 and b.unit == "usd"
                else None,
                "ceiling_usd": nano_to_usd(b.ceiling_nanousd)
                if b.ceiling_nanousd >= 0 and b.unit == "usd"
                else None,
            }
            | ({} if b.unit == "usd" or b.floor_nanousd < 0 else {"unit": b.unit, "limit": b.floor_nanousd})
            for b in c.bounds
        ],
    }


def _outcome(
    snapshot: Snapshot,
    identity: Identity,
    body: bytes,
    path: str,
    require_model: str,
    standing: Standing,
    now_ms: int,
) -> dict[str, Any]:
    """Let the real state machine run on a pretended ledger."""
    settled, held = standing.settled, standing.held
    asks = HeaderExtractor()
    headers = {
        "content-type": "application/json",
        asks.team: identity.team,
        asks.app: identity.app,
        asks.user: identity.user,
        "x-llm-run": identity.run,
        "x-require-model": require_model,
    }
    exchange = Exchange("explain", snapshot.with_extractors((asks,)))
    exchange.receive(e.RequestHeaders("POST", path, Caller(headers)))
    action = exchange.receive(e.RequestBody(body, now_ms))
    while isinstance(action, e.NeedCount | e.NeedReserve):
        if isinstance(action, e.NeedCount):
            action = exchange.receive(e.CountDone(measure(action.texts, action.text_bytes, exact=True)))
            continue
        candidates = action.request.candidates
        verdict = evaluate(candidates, settled, held, standing.ratios, standing.last_settled)
        chosen = candidates[verdict.candidate].bounds if verdict.candidate >= 0 else ()
        action = exchange.receive(
            e.ReserveDone(
                ReserveResult(
                    candidate=verdict.candidate,
                    held_nanousd=verdict.held_nanousd,
                    output_cap=verdict.output_cap,
                    settled_nanousd=settled.get("month", 0),
                    reserved_nanousd=held.get("month", 0) + verdict.held_nanousd,
                    at_ms=now_ms,
                    refusals=tuple(
                        Refusal(
                            r.candidate,
                            r.bound,
                            r.settled_nanousd,
                            r.reserved_nanousd,
                            r.held,
                            r.asked_nanousd,
                        )
                        for r in verdict.refusals
                    ),
                    counters=tuple(
                        (settled.get(b.key, 0), held.get(b.key, 0) + verdict.held_nanousd) for b in chosen
                    ),
                    worst_nanousd=verdict.worst_nanousd,
                )
            )
        )
    if isinstance(action, e.Reject):
        error = _error(orjson.loads(action.body))
        return {
            "decision": "reject",
            "reason": action.reason,
            "model": "",
            "status": action.status,
            "message": error.get("message", ""),
            "details": error.get("details", {}),
            "kept_because": "",
        }
    decided = exchange.decided
    return {
        "decision": decided.decision,
        "reason": decided.reason,
        "model": decided.model,
        "status": 200,
        "message": "",
        "estimate_usd": nano_to_usd(decided.held_nanousd),
        "kept_because": decided.kept_because,
    }
