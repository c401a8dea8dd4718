"""A refusal in words that a person understands: who, how much, until when, whom to ask. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from spendgate.budget.ask import PlannedRefusal
from spendgate.budget.bounds import Bound
from spendgate.budget.calendar import period_end
from spendgate.budget.limit_message import amount_text, limit_fact, limit_row
from spendgate.budget.policy import TeamBudget
from spendgate.money import nano_to_usd, usd_text
from spendgate.months import next_month_start, utc
from spendgate.values import dataclass


@dataclass(frozen=True, slots=True)
class RefusalText:
    """A refusal ready for a dialect's error shape: `code` is a reason of docs/reference/headers-and-reasons.md."""

    status: int
    code: str
    text: str
    details: dict[str, object]


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asked for what, when. `model` is the one refused."""

    team: str
    app: str
    model: str
    now_ms: int


@dataclass(frozen=True, slots=True)
class BoundStatus:
    """What a bound's counter has settled, and what is held in it by requests that are running."""

    settled_nanousd: int
    reserved_nanousd: int = 0

    @property
    def committed_nanousd(self) -> int:
        """What admission looks at."""
        return self.settled_nanousd + self.reserved_nanousd


LOOP = "loop_detected"
"""The reason where a run sends the same request again and again."""
HELD = "budget_held"
"""The reason where only what others hold keeps a request out."""


def refused_by_bound(
    asked: Asked,
    budget: TeamBudget | None,
    bound: Bound,
    stand: BoundStatus,
    estimate_nanousd: int,
    again_after_s: int = 0,
    tokens: int = 0,
) -> RefusalText:
    """Word a refusal by the ledger: `bound` with what its counter has, this request excluded. `budget`: whose it is, of
    a group's bound the group's. `again_after_s`: only what others hold keeps it out, and so long that may take."""
    limit = bound.floor_nanousd
    if bound.reason == "monthly_budget_exceeded" and bound.carry is None and budget is not None:
        limit = budget.limit_nanousd(asked.now_ms)
    resets = resets_of(bound, asked.now_ms)
    need = {"usd": estimate_nanousd, "tokens": tokens, "requests": 1}[bound.unit]
    if bound.subject is not None:
        fact = limit_fact(bound, asked.team, stand.settled_nanousd, stand.reserved_nanousd)
    else:
        subject, purse = _subject(asked, bound)
        fact = f"{subject} has used {usd_text(stand.settled_nanousd)} of its {usd_text(limit)} {purse}"
        if stand.reserved_nanousd:
            fact += f", and {usd_text(stand.reserved_nanousd)} is held for requests that are still running"
    takes = "cost" if bound.unit == "usd" else "take"
    cost = f"this request may {takes} up to {amount_text(bound.unit, need)}"
    details = _details(asked, budget) | {"bound": bound.scope}
    if bound.group:
        details["group"] = bound.group
    if bound.subject is not None:
        details["limit"] = limit_row(bound, stand.settled_nanousd, stand.reserved_nanousd, _rfc3339(resets))
    if bound.unit == "usd":
        details |= {
            "spent_usd": nano_to_usd(stand.settled_nanousd),
            "held_usd": nano_to_usd(stand.reserved_nanousd),
            "budget_usd": nano_to_usd(limit),
            "remaining_usd": nano_to_usd(max(0, bound.floor_nanousd - stand.committed_nanousd)),
        }
    details |= {
        "utilization": ratio(stand.settled_nanousd + need, limit),
        "estimated_usd": nano_to_usd(estimate_nanousd),
        "resets_at": _rfc3339(resets),
        "scope": bound.scope,
    }
    if again_after_s:
        details["retry_after_s"] = again_after_s
        text = f"{fact}. T{cost[1:]}: it will fit once enough of them have ended. Try again in {again_after_s} s."
        return RefusalText(429, HELD, text, details)
    what = "budget" if bound.subject is None else "limit"
    if stand.settled_nanousd >= bound.floor_nanousd:
        until = f"; requests are refused until {resets:%Y-%m-%d %H:%M} UTC." if resets else "."
    else:
        fact += f"; {cost}" if stand.reserved_nanousd else f", and {cost}"
        fact += ", more than is left"
        until = f"; the {what} resets at {resets:%Y-%m-%d %H:%M} UTC." if resets else "."
    return RefusalText(429, bound.reason, fact + until + _whom(budget), details)


def refused_by_plan(asked: Asked, budget: TeamBudget | None, refusal: PlannedRefusal) -> RefusalText:
    """Word a refusal that the plan made before the ledger was asked."""
    model = refusal.model
    more = refusal.details
    if refusal.reason == "app_not_allowed_for_model":
        allowed = more.get("allowed_apps")
        names = ", ".join(str(a) for a in allowed) if isinstance(allowed, list) else ""
        text = (
            f"App {asked.app or 'without a name'} of team {asked.team} may not use {model}; allowed: {names}."
        )
    elif refusal.reason == "unpriced_model":
        text = f"{model} has no price, and team {asked.team} may only use models with one."
    elif refusal.reason == "unknown_api":
        text = (
            f"The tool {model} has no price, and the LLM budget of team {asked.team} refuses what cannot be metered "
            "(unknownApis: reject)."
        )
    elif refusal.reason == "request_cost_exceeded":
        text = (
            f"This request may cost up to ${more.get('estimated_usd')} with {model}; "
            f"team {asked.team} allows ${more.get('max_usd_per_request')} a request. "
            "Shorten the input or lower the output limit."
        )
    elif refusal.reason == "unbudgeted" and budget is not None and budget.lapsed:
        text = (
            f"Team {asked.team} has no LLM budget in force: the one defined for it is invalid, or is in a "
            "namespace that may not own this team (`kubectl get lb -A` says which)."
        )
    elif refusal.reason == "unbudgeted":
        text = f"Team {asked.team} has no LLM budget, and this gateway refuses teams without one."
    else:
        text = f"The request of team {asked.team} for {model} was refused: {refusal.reason}."
    details = _details(asked, budget) | more
    return RefusalText(refusal.status, refusal.reason, text + _whom(budget), details)


def refused_as_loop(
    asked: Asked, budget: TeamBudget | None, run: str, passed: int, again_ms: int
) -> RefusalText:
    """Word the refusal of a request that its run has sent `passed` times already."""
    again = utc(asked.now_ms + again_ms)
    text = (
        f"Run {run} of team {asked.team} has sent this very request {passed} times, so it is refused as a loop until "
        f"{again:%Y-%m-%d %H:%M:%S} UTC. Change what is asked, or stop the run."
    )
    details = _details(asked, budget)
    details |= {"run": run, "passed": passed, "resets_at": _rfc3339(again)}
    return RefusalText(429, LOOP, text + _whom(budget, ""), details)


def refused_without_ledger(asked: Asked, budget: TeamBudget | None, allowance_nanousd: int) -> RefusalText:
    """Word a refusal because the ledger does not answer and the fail-open allowance is used up."""
    allowed = (
        "this budget allows nothing in the meantime"
        if allowance_nanousd <= 0
        else f"the {usd_text(allowance_nanousd)} that this budget allows in the meantime have been used up"
    )
    text = f"The spend of team {asked.team} cannot be checked at the moment, and {allowed}. Try again soon."
    details = _details(asked, budget) | {"allowance_usd": nano_to_usd(max(allowance_nanousd, 0))}
    return RefusalText(429, "ledger_unavailable", text + _whom(budget), details)


def resets_of(bound: Bound, now_ms: int) -> datetime | None:
    """When a bound's counter starts anew; None where it never does."""
    return period_end(bound.periods, now_ms) if bound.periods else resets_at(bound.window, now_ms)


def resets_at(window: str, now_ms: int) -> datetime | None:
    """When a window's counter starts anew; None for a run, which does not."""
    now = utc(now_ms)
    if window == "month":
        return next_month_start(now_ms)
    if window == "day":
        return now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    if window == "hour":
        return now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    return None


def ratio(committed_nanousd: int, limit_nanousd: int) -> float | None:
    """Utilization to four decimals; None for a limit of 0."""
    if limit_nanousd <= 0:
        return None
    return float(round(Decimal(committed_nanousd) / Decimal(limit_nanousd), 4))


def _subject(asked: Asked, bound: Bound) -> tuple[str, str]:
    """Whose money it is, and which."""
    team = f"Group {bound.group}" if bound.group else f"Team {asked.team}"
    now = utc(asked.now_ms)
    if bound.group:
        return team, {
            "day": f"LLM budget for {now:%Y-%m-%d}",
            "hour": f"LLM budget for the hour from {now:%H}:00 UTC",
        }.get(bound.window, f"LLM budget for {now:%B %Y}")
    what = {
        "daily_budget_exceeded": f"LLM budget for {now:%Y-%m-%d}",
        "spend_rate_exceeded": f"LLM budget for the hour from {now:%H}:00 UTC",
        "model_budget_exceeded": f"budget for {bound.scope.removeprefix('model:')} for {now:%B %Y}",
        "app_budget_exceeded": f"LLM budget for {now:%B %Y}",
        "run_budget_exceeded": "LLM budget",
    }.get(bound.reason, f"LLM budget for {now:%B %Y}")
    if bound.reason == "app_budget_exceeded":
        return f"App {asked.app} of team {asked.team}", what
    if bound.reason == "run_budget_exceeded":
        return f"Run {bound.scope.removeprefix('run:')} of team {asked.team}", what
    return team, what


def _details(asked: Asked, budget: TeamBudget | None) -> dict[str, object]:
    details: dict[str, object] = {"team": asked.team, "app": asked.app, "model": asked.model}
    if budget is not None and budget.contact:
        details["contact"] = budget.contact
    return details


def _whom(budget: TeamBudget | None, wish: str = " for an increase") -> str:
    return f" Ask in {budget.contact}{wish}." if budget is not None and budget.contact else ""


def _rfc3339(at: datetime | None) -> str | None:
    return None if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"
