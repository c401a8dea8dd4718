"""What the caller has left: `GET /spendgate/v1/budget`, answered by the gateway for the caller's own identity. Pure.

Amounts are exact decimals of USD, without the overshoot. What others hold is told apart from what is used, and
`remaining` is what neither has taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson

from spendgate.budget.ask import Ask
from spendgate.budget.bounds import Bound, Counted, Subject
from spendgate.budget.limit_message import limit_row
from spendgate.budget.limits import all_bounds, bounds_of
from spendgate.budget.policy import TeamBudget
from spendgate.budget.refusal_message import resets_at, resets_of
from spendgate.exchange.events import Reject
from spendgate.exchange.snapshot import Address, Snapshot
from spendgate.identity import headers as h
from spendgate.identity.identity import UNATTRIBUTED, Identity
from spendgate.money import nano_to_usd
from spendgate.months import month_key, month_text
from spendgate.pricing.cost import output_picousd

PREFIX = "/spendgate/"
PATH = "/spendgate/v1/budget"
OWN_BUDGET = "own_budget"
MODEL_MAX = 256


def is_ours(path: str) -> bool:
    """Is this a path (without query) of the gateway's own, in whichever spelling? No provider gets it."""
    if "%" not in path and "spendgate" not in path.lower():
        return False
    return f"{_plain(path).lower()}/".startswith(PREFIX)


def _plain(path: str) -> str:
    return re.sub("/+", "/", unquote(path))


def refusal(snapshot: Snapshot, identity: Identity, method: str, path: str) -> Reject | None:
    """Why it is not answered; None where it is."""
    if _plain(path).rstrip("/") != PATH:
        return _error(
            404, "not_found", f"This gateway answers {PATH} itself, and nothing else below {PREFIX}."
        )
    if method != "GET":
        return _error(405, "method_not_allowed", f"Ask {PATH} with GET.")
    if identity.team == UNATTRIBUTED and snapshot.settings.unbudgeted == "reject":
        text = "This gateway does not know who asks. Send the credentials that your platform team gave you."
        return _error(401, "unidentified", text)
    return None


def away() -> Reject:
    """The ledger does not answer."""
    text = "What you have left cannot be read at the moment. Try again in 1 s."
    return _error(503, "ledger_unavailable", text, (h.RETRY_AFTER, "1"))


def model_of(target: str) -> str:
    """The model that a path with its query asks about; "" for none."""
    return parse_qs(target.partition("?")[2]).get("model", [""])[0].strip()[:MODEL_MAX]


def bounds_asked(snapshot: Snapshot, identity: Identity, model: str, now_ms: int) -> tuple[Bound, ...]:
    """Every bound that some request of the caller may meet, the team's month first; those of the model included, and
    those of the groups."""
    budget, groups = snapshot.policy.budget(identity.team), snapshot.policy.groups_of(identity.team)
    asked = _ask(snapshot, identity, "", now_ms)
    found = all_bounds(
        budget, replace(asked, app=identity.app or UNATTRIBUTED), now_ms, snapshot.decision, groups
    )
    of_model = _of_model(snapshot, identity, model, now_ms) if model else ()
    return tuple({b.key: b for b in (*found, *of_model)}.values())


def answer(
    snapshot: Snapshot,
    identity: Identity,
    model: str,
    bounds: Sequence[Bound],
    counters: Mapping[str, Counted],
    now_ms: int,
) -> Reject:
    """The answer. `counters` by key of a bound, as the ledger has them; `now_ms`: its time."""
    budget = snapshot.policy.budget(identity.team)
    month, resets = counters["month"], resets_at("month", now_ms)
    limit = None if budget is None else _month_limit(bounds[0], budget.limit_nanousd(now_ms))
    found: dict[str, Any] = {
        "team": identity.team,
        "app": identity.app,
        "user": identity.user,
        "month": month_text(month_key(now_ms)),
        "currency": "USD",
        "settled_usd": nano_to_usd(month.settled_nanousd),
        "held_usd": nano_to_usd(month.reserved_nanousd),
        "limit_usd": None if limit is None else nano_to_usd(limit),
        "remaining_usd": None if limit is None else nano_to_usd(_left(limit, month)),
        "resets_at": f"{resets:%Y-%m-%dT%H:%M:%SZ}",
        "limits": [
            _limit(identity, b, counters[b.key], now_ms)
            for b in bounds
            if b.floor_nanousd >= 0 and b.scope != "month" and not b.group
        ],
        "groups": [
            _group(snapshot, identity, g, bounds, counters, now_ms)
            for g in snapshot.policy.groups_of(identity.team)
        ],
    }
    if model:
        left = [_left(limit, month)] if limit is not None else []
        of_model = _of_model(snapshot, identity, model, now_ms)
        left += [
            _left(b.floor_nanousd, counters[b.key])
            for b in of_model
            if b.floor_nanousd >= 0 and b.unit == "usd" and b.key != "month"
        ]
        tokens = _tokens(snapshot, model, left, now_ms)
        counts = [
            _left(b.floor_nanousd, counters[b.key])
            for b in of_model
            if b.floor_nanousd >= 0 and b.unit == "tokens"
        ]
        least = min([*counts, *([tokens] if tokens is not None else [])], default=None)
        found["model"] = {"name": model, "affordable_output_tokens": least}
    return _reply(200, orjson.dumps(found), OWN_BUDGET)


def _group(
    snapshot: Snapshot,
    identity: Identity,
    group: TeamBudget,
    bounds: Sequence[Bound],
    counters: Mapping[str, Counted],
    now_ms: int,
) -> dict[str, Any]:
    """How a group of the caller's stands: its month, and its limits as far as they are the caller's."""
    own = [b for b in bounds if b.group == group.team]
    month = counters[own[0].key]
    limit = _month_limit(own[0], group.limit_nanousd(now_ms))
    resets = resets_at("month", now_ms)
    return {
        "name": group.team,
        "settled_usd": nano_to_usd(month.settled_nanousd),
        "held_usd": nano_to_usd(month.reserved_nanousd),
        "limit_usd": nano_to_usd(limit),
        "remaining_usd": nano_to_usd(_left(limit, month)),
        "resets_at": f"{resets:%Y-%m-%dT%H:%M:%SZ}",
        "limits": [
            _limit(identity, b, counters[b.key], now_ms)
            for b in own
            if b.floor_nanousd >= 0 and b.scope != "month"
        ],
    }


def _month_limit(month: Bound, limit_nanousd: int) -> int:
    """What bounds the caller's month: the reject threshold, else the budget."""
    return month.floor_nanousd if month.floor_nanousd >= 0 else limit_nanousd


def _left(limit_nanousd: int, counter: Counted) -> int:
    return max(0, limit_nanousd - counter.settled_nanousd - counter.reserved_nanousd)


def _of_model(snapshot: Snapshot, identity: Identity, model: str, now_ms: int) -> tuple[Bound, ...]:
    """The bounds that a request for the model meets."""
    budget, groups = snapshot.policy.budget(identity.team), snapshot.policy.groups_of(identity.team)
    return bounds_of(
        budget, _ask(snapshot, identity, model, now_ms), model, now_ms, snapshot.decision, groups
    )


def _ask(snapshot: Snapshot, identity: Identity, model: str, now_ms: int) -> Ask:
    nowhere = Address("")
    return Ask(
        team=identity.team, app=identity.app, model=model, dialect="", input_tokens=0, run=identity.run,
        user=identity.user, tags=dict(identity.tags), known_as=snapshot.prices.known_as,
        provider_of=lambda m: snapshot.seller(m, nowhere, now_ms),
    )  # fmt: skip


def _tokens(snapshot: Snapshot, model: str, left_nanousd: Sequence[int], now_ms: int) -> int | None:
    """What the least of it buys at the model's output price; None where nothing bounds it, or output is free."""
    terms = snapshot.terms(model, Address(""), now_ms)
    price = snapshot.prices.find(model, terms) or snapshot.prices.dearest_of_family(model, terms)
    per_token = output_picousd(price, 0)
    return min(left_nanousd) * 1000 // per_token if left_nanousd and per_token else None


def _limit(identity: Identity, bound: Bound, counter: Counted, now_ms: int) -> dict[str, Any]:
    resets = resets_of(bound, now_ms)
    at = None if resets is None else f"{resets:%Y-%m-%dT%H:%M:%SZ}"
    if bound.subject is None:
        kind, _, value = bound.scope.partition(":")
        per, value = (kind, value) if value else ("team", identity.team)
        window = "total" if bound.window == "run" else bound.window
        bound = replace(bound, subject=Subject(per, value, window))
    return limit_row(bound, counter.settled_nanousd, counter.reserved_nanousd, at)


def _error(status: int, code: str, text: str, *more: tuple[str, str]) -> Reject:
    error = {"message": text, "type": "invalid_request_error", "param": None, "code": code}
    return _reply(status, orjson.dumps({"error": error}), code, *more)


def _reply(status: int, body: bytes, reason: str, *more: tuple[str, str]) -> Reject:
    headers = (("content-type", "application/json"), ("cache-control", "no-store"), *more)
    return Reject(status, headers, body, reason)
