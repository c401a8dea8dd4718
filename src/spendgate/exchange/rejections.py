"""A refusal as the client gets it: the dialect's own error shape, with a status that its program takes
as final, and no invitation to retry."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import orjson

from spendgate.budget.ask import Choice, PlannedRefusal
from spendgate.budget.policy import TeamBudget
from spendgate.budget.refusal_message import (
    Asked,
    BoundStatus,
    RefusalText,
    refused_as_loop,
    refused_by_bound,
    refused_by_plan,
    refused_without_ledger,
)
from spendgate.budget.waiting import needed_nanousd, retry_after_s
from spendgate.dialects.base import Dialect, Rejection
from spendgate.exchange.events import TOO_BUSY, UNKNOWN_API, Reject
from spendgate.exchange.snapshot import Snapshot
from spendgate.identity import headers as h
from spendgate.identity.identity import Identity
from spendgate.ledger.exchanges import Loop, ReserveResult
from spendgate.settings.reject_status import BY_THEMSELVES, PASSING, Sender, Statuses
from spendgate.values import dataclass

BUSY_RETRY_S = 1
"""When to ask again after `too_busy`: a worker reads its whole room in less."""
AWAY_RETRY_S = 1
"""When to ask again after `ledger_unavailable`: the ledger itself is not asked for half a second after it failed."""


@dataclass(frozen=True, slots=True)
class RejectionFormat:
    """Who words a refusal, and to whom: what the sender's program needs may be another status."""

    dialect: Dialect
    statuses: Statuses = BY_THEMSELVES
    app: str = ""
    user_agent: str = ""
    request: bytes = b""
    """The body of what is refused, as far as it is known."""

    def status(self, reason: str, status: int) -> int:
        """The status of a refusal that by itself has `status`."""
        return self.statuses.of(Sender(self.dialect.name, self.app, self.user_agent), reason, status)


def format_of(
    snapshot: Snapshot, dialect: Dialect, identity: Identity, headers: Mapping[str, str], request: bytes = b""
) -> RejectionFormat:
    """The voice for one request. `headers`: its own, by lower-case name; `request`: its body."""
    statuses = Statuses(snapshot.settings.reject_status)
    return RejectionFormat(dialect, statuses, identity.app, headers.get("user-agent", ""), request)


def _reject(
    voice: RejectionFormat, refusal: RefusalText, kind: str = "budget_exceeded", again_after_s: int = 0
) -> Reject:
    """`again_after_s`: when the client may ask again; 0: it should not."""
    dialect = voice.dialect
    status = voice.status(refusal.code, refusal.status)
    rejection = Rejection(status, refusal.code, refusal.text, refusal.details, kind, voice.request)
    status = dialect.refusal_status(rejection)
    body = dialect.error_body(rejection)
    again = "true" if again_after_s or refusal.code in PASSING else "false"
    headers = [("content-type", "application/json"), (h.SHOULD_RETRY, again), (h.REASON, refusal.code)]
    if again_after_s:
        headers.append((h.RETRY_AFTER, str(again_after_s)))
    headers += dialect.error_headers(rejection)
    utilization = refusal.details.get("utilization")
    if utilization is not None:
        headers.append((h.UTILIZATION, f"{utilization}"))
    remaining = refusal.details.get("remaining_usd")
    if remaining is not None:
        headers.append((h.REMAINING, f"{remaining}"))
    resets = refusal.details.get("resets_at")
    if resets and refusal.code not in PASSING:
        headers.append((h.RESET, str(resets)))
    return Reject(status, tuple(headers), body, refusal.code)


def _asked(identity: Identity, model: str, now_ms: int) -> Asked:
    return Asked(identity.team, identity.app, model, now_ms)


def planned_refusal(
    voice: RejectionFormat,
    identity: Identity,
    budget: TeamBudget | None,
    refusal: PlannedRefusal,
    now_ms: int,
) -> Reject:
    """A refusal known before the ledger was asked."""
    return _reject(voice, refused_by_plan(_asked(identity, refusal.model, now_ms), budget, refusal))


NO_GROUPS: Mapping[str, TeamBudget] = MappingProxyType({})


def over_limit(
    voice: RejectionFormat,
    identity: Identity,
    budget: TeamBudget | None,
    model: str,
    result: ReserveResult,
    choices: tuple[Choice, ...],
    usual_ms: int,
    groups: Mapping[str, TeamBudget] = NO_GROUPS,
) -> Reject:
    """The ledger refused every candidate. Where one only waits for what others hold, that is said, and when to ask
    again; else the bound that refused the last one, the requested model."""
    named = result.waits_for or (result.refusals[-1] if result.refusals else None)
    owner = budget if named is None or not named.bound.group else groups.get(named.bound.group)
    if named is None or owner is None:
        raise RuntimeError("the ledger refused a request that has no bound")
    bound, committed = named.bound, named.committed_nanousd
    candidate = choices[named.candidate].candidate
    estimate = candidate.estimate_nanousd
    again_after_s = 0
    if named.held:
        needed = needed_nanousd(
            committed, named.asked_nanousd or estimate, bound.floor_nanousd, bound.ceiling_nanousd
        )
        again_after_s = retry_after_s(needed, result.in_flight, usual_ms)
    stand = BoundStatus(named.settled_nanousd, named.reserved_nanousd)
    asked = _asked(identity, model, result.at_ms)
    text = refused_by_bound(asked, owner, bound, stand, estimate, again_after_s, candidate.tokens)
    return _reject(voice, text, again_after_s=again_after_s)


def looping(
    voice: RejectionFormat,
    identity: Identity,
    budget: TeamBudget | None,
    model: str,
    loop: Loop,
    now_ms: int,
) -> Reject:
    """The same request of a run has passed as often as it may."""
    asked = _asked(identity, model, now_ms)
    return _reject(voice, refused_as_loop(asked, budget, identity.run, loop.passed, loop.again_ms))


def ledger_away(
    voice: RejectionFormat,
    identity: Identity,
    budget: TeamBudget | None,
    choice: Choice,
    settled_nanousd: int,
    allowance_nanousd: int,
    now_ms: int,
) -> Reject:
    """The ledger does not answer. An exhausted team hears of its budget, all others of the outage."""
    asked = _asked(identity, choice.candidate.model, now_ms)
    month = choice.candidate.bounds[0]
    if budget is not None and 0 <= month.floor_nanousd <= settled_nanousd:
        stand, estimate = BoundStatus(settled_nanousd), choice.candidate.estimate_nanousd
        return _reject(voice, refused_by_bound(asked, budget, month, stand, estimate))
    text = refused_without_ledger(asked, budget, allowance_nanousd)
    return _reject(voice, text, again_after_s=AWAY_RETRY_S)


def unpriced_tool(
    voice: RejectionFormat, identity: Identity, budget: TeamBudget | None, tool: str, now_ms: int
) -> Reject:
    """A tool without a price, of a team whose budget refuses what nobody here can meter."""
    refusal = PlannedRefusal(403, UNKNOWN_API, tool)
    return _reject(voice, refused_by_plan(_asked(identity, tool, now_ms), budget, refusal))


def unidentified() -> Reject:
    """A path that no dialect claims, from a caller whom no source of identity knows (`passthrough`)."""
    text = (
        "This gateway does not know who asks, and lets only known callers use this path. "
        "Send the credentials that your platform team gave you."
    )
    error = {"message": text, "type": "authentication_error", "param": None, "code": "unidentified"}
    headers = (("content-type", "application/json"), (h.SHOULD_RETRY, "false"), (h.REASON, "unidentified"))
    return Reject(401, headers, orjson.dumps({"error": error}), "unidentified")


def too_large(voice: RejectionFormat, limit_bytes: int) -> Reject:
    """The body is above `max_body_bytes`; nothing was reserved."""
    text = f"The request body is above this gateway's limit of {limit_bytes} bytes."
    refusal = RefusalText(413, "request_too_large", text, {"limit_bytes": limit_bytes})
    return _reject(voice, refusal, "invalid_request_error")


def too_large_for_envoy(voice: RejectionFormat, limit_bytes: int) -> Reject:
    """Envoy refused a body that is below `max_body_bytes`: its own limit is lower; nothing was reserved."""
    text = (
        "The request body is longer than the Envoy before this gateway takes. The gateway itself takes "
        f"{limit_bytes} bytes: ask your platform team to raise Envoy's buffer limit."
    )
    refusal = RefusalText(413, "request_too_large", text, {"limit_bytes": limit_bytes})
    return _reject(voice, refusal, "invalid_request_error")


def too_busy(voice: RejectionFormat) -> Reject:
    """A worker has as many bytes to read as it may, or no time to decide; nothing was reserved."""
    text = (
        "This gateway reads as many LLM requests as it can at once (max_inflight_bytes), and has not looked at "
        f"this one. Try again in {BUSY_RETRY_S} s."
    )
    return _reject(voice, RefusalText(503, TOO_BUSY, text, {}), "overloaded_error", BUSY_RETRY_S)


def unreadable(voice: RejectionFormat, identity: Identity, budget: TeamBudget, problem: str) -> Reject:
    """A request that cannot be read, so that nobody knows what it may cost."""
    text = (
        f"This gateway cannot read the request, and the LLM budget of team {identity.team} needs to know what it may "
        f"cost: {problem}."
    )
    if budget.contact:
        text += f" Ask in {budget.contact}."
    details: dict[str, object] = {"team": identity.team, "app": identity.app, "problem": problem}
    refusal = RefusalText(400, "unreadable_request", text, details)
    return _reject(voice, refusal, "invalid_request_error")


def broken(
    snapshot: Snapshot, identity: Identity, dialect: Dialect | None, headers: Mapping[str, str]
) -> Reject | None:
    """Where a fault of ours meets an enforcing budget: a refusal. None where it lets pass all that cannot be decided
    (`failurePolicy: open`), in audit mode, and where there is none."""
    budget = snapshot.policy.budget(identity.team)
    if dialect is None or budget is None or budget.failure_policy == "open" or budget.audit:
        return None
    text = (
        f"The budget of team {identity.team} cannot be checked because of an internal fault of this gateway; "
        "nothing was sent."
    )
    refusal = RefusalText(429, "ledger_unavailable", text, {"team": identity.team})
    return _reject(format_of(snapshot, dialect, identity, headers), refusal, again_after_s=AWAY_RETRY_S)
