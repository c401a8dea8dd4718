"""The status that an LLMBudget should have: verdict and ledger numbers in, status out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from spendgate.budget.bounds import UNLIMITED
from spendgate.budget.phase import is_exhausted, is_under_pressure, phase_of
from spendgate.budget.policy import TeamBudget
from spendgate.budget.rollover import with_carry
from spendgate.controller import conditions as c
from spendgate.controller.confirmation import Confirmation
from spendgate.controller.reconcile import DesiredState, Verdict
from spendgate.money import NANO_PER_USD, usd_text
from spendgate.months import next_month_start
from spendgate.values import dataclass
from spendgate.views.budgets import utilization


@dataclass(frozen=True, slots=True)
class Numbers:
    """A team's month in nano-USD; the forecast is `budget.forecast`'s, of the month's end; carried is what last month
    left to the budget."""

    settled_nanousd: int
    reserved_nanousd: int
    forecast_nanousd: int = 0
    carried_nanousd: int = 0


def usd(nano: int) -> float:
    """As the status shows it: exact to a micro-dollar (13 digits at most, so exact as JSON too)."""
    return round(nano / NANO_PER_USD, 6)


def desired(
    verdict: Verdict,
    numbers: Numbers | None,
    old: Mapping[str, Any],
    now_ms: int,
    unpriced: tuple[str, ...] = (),
    fault: str = "",
    confirmation: Confirmation | None = None,
) -> dict[str, Any]:
    """The whole status. `numbers` None: the ledger did not answer (`fault` says why); the last ones of the
    same team's month stay. `confirmation` None: nobody knows what the gateways enforce. `old` is the status that
    stands, for times of transition."""
    at = stamp(now_ms)
    out: dict[str, Any] = {
        "observedGeneration": verdict.generation,
        "enforcedGeneration": verdict.in_force.generation if verdict.in_force else 0,
        "lastUpdated": at,
    }
    budget = _as_read(verdict, numbers, now_ms)
    exhausted = downgrading = None
    if budget is not None and numbers is not None:
        limit = budget.limit_nanousd(now_ms)
        out |= {
            "currentSpendUSD": usd(numbers.settled_nanousd),
            "reservedUSD": usd(numbers.reserved_nanousd),
            "budgetUtilization": utilization(numbers.settled_nanousd, limit),
            "forecastUSD": usd(numbers.forecast_nanousd),
        }
        exhausted = _exhausted(budget, numbers, now_ms)
        downgrading = _downgrading(budget, numbers, now_ms)
    elif budget is not None:
        for name in ("currentSpendUSD", "reservedUSD", "budgetUtilization", "forecastUSD"):
            if name in old:
                out[name] = old[name]
    out["phase"] = _phase(verdict, numbers, old, now_ms)
    found = [
        _ready(verdict, confirmation, old),
        _unless_known(c.EXHAUSTED, exhausted, "BoundReached", "WithinBudget", budget),
        _unless_known(c.DOWNGRADING, downgrading, "ThresholdReached", "BelowThreshold", budget),
        (c.CONFLICT, "True", "TeamHasOlderBudget", verdict.message)
        if verdict.state is DesiredState.CONFLICT
        else (c.CONFLICT, "False", "OnlyBudgetOfTeam", "no other budget claims the team"),
        (c.INVALID, "True", "ContradictsItself", _invalid(verdict))
        if verdict.state is DesiredState.INVALID
        else (c.INVALID, "False", "Valid", "the document is consistent"),
        (c.PRICE_MISSING, "True", "NoPrice", f"no price for {', '.join(unpriced)}; add it to the price file")
        if unpriced
        else (c.PRICE_MISSING, "False", "AllPriced", "every model that it sends to has a price"),
        (c.STORE_DEGRADED, "True", "LedgerUnavailable", f"the numbers are the last known: {fault}")
        if fault
        else (c.STORE_DEGRADED, "False", "LedgerAnswers", "the numbers are the ledger's"),
    ]
    before = {x.get("type"): x for x in old.get("conditions") or () if isinstance(x, dict)}
    out["conditions"] = [_condition(*x, verdict.generation, before.get(x[0]), at) for x in found]
    return out


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Is the new status worth a write? The time of writing alone is not."""
    return bool(_content(old) != _content(new))


def conditions_changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Did more than numbers change? Then it must not wait."""
    numbers = ("currentSpendUSD", "reservedUSD", "budgetUtilization", "forecastUSD")
    return {k: v for k, v in _content(old).items() if k not in numbers} != {
        k: v for k, v in _content(new).items() if k not in numbers
    }


def patch_of(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that makes `new` of `old`: what is gone is set to null."""
    return {**{k: None for k in old if k not in new}, **{k: v for k, v in new.items() if old.get(k) != v}}


_TOLD = {c.EXHAUSTED: (c.PHASE_EXHAUSTED,), c.DOWNGRADING: (c.PHASE_EXHAUSTED, c.PHASE_DOWNGRADING)}
"""The phases in which a condition was told already; the phase stays while the ledger does not answer."""


def transitions(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Conditions that turned, as (type, status, reason, message): what events tell. What is first seen as fine
    is no news, nor what is true again after the ledger was away, nor is Ready turning False, where another condition
    says why."""
    before = {x["type"]: x["status"] for x in old.get("conditions") or () if isinstance(x, dict)}
    out = []
    for x in new["conditions"]:
        kind, status = x["type"], x["status"]
        was = before.get(kind)
        good = "True" if kind == c.READY else "False"
        if was == status or status == "Unknown" or (status == good and was in (None, "Unknown")):
            continue
        if was == "Unknown" and old.get("phase") in _TOLD.get(kind, ()):
            continue
        if kind == c.READY and status == "False" and x["reason"] != c.NOT_OWNER:
            continue
        out.append((kind, status, x["reason"], x["message"]))
    return out


def models_named(budget: TeamBudget) -> tuple[str, ...]:
    """Models that the budget itself sends requests to, sorted: each should have a price."""
    names = {budget.default_model, *(d.to for d in budget.downgrades)}
    if budget.routing:
        names |= {budget.routing.cheap_model, budget.routing.expensive_model}
    return tuple(sorted(names - {""}))


def _as_read(verdict: Verdict, numbers: Numbers | None, now_ms: int) -> TeamBudget | None:
    """The budget in force, with what was carried over."""
    if verdict.in_force is None:
        return None
    return with_carry(verdict.in_force.budget, numbers.carried_nanousd if numbers else 0, now_ms)


def _exhausted(budget: TeamBudget, numbers: Numbers, now_ms: int) -> tuple[bool, str]:
    bound = budget.month_bound_nanousd(now_ms)
    if bound == UNLIMITED:
        return False, "no threshold rejects"
    if not is_exhausted(budget, numbers.settled_nanousd, now_ms):
        return False, "money is left"
    if budget.audit:
        return False, f"{usd_text(bound)} of the bound are reached; in audit mode no request is refused"
    end = stamp(int(next_month_start(now_ms).timestamp() * 1000))
    return True, f"{usd_text(bound)} are spent; requests are refused until {end} or a raise"


def _downgrading(budget: TeamBudget, numbers: Numbers, now_ms: int) -> tuple[bool, str]:
    threshold = budget.downgrade_threshold
    if threshold is None and budget.routing is None:
        return False, "no threshold downgrades"
    settled, limit = numbers.settled_nanousd, budget.limit_nanousd(now_ms)
    if not is_under_pressure(budget, settled, now_ms):
        return False, f"below {threshold.percent} %" if threshold else "cost routing is under no pressure"
    reached = threshold is not None and settled * 100 >= limit * threshold.percent
    why = f"{threshold.percent} % are reached" if threshold and reached else "cost routing is under pressure"
    if budget.audit:
        return False, f"{why}; in audit mode no other model is used"
    return True, f"{why}; cheaper models are used"


_PHASES = {
    DesiredState.INVALID: c.PHASE_INVALID,
    DesiredState.CONFLICT: c.PHASE_CONFLICT,
    DesiredState.NOT_OWNER: c.PHASE_NOT_OWNER,
}


def _phase(verdict: Verdict, numbers: Numbers | None, old: Mapping[str, Any], now_ms: int) -> str:
    """`phase_of` for a document in force; where the ledger does not answer, what was known last."""
    budget = _as_read(verdict, numbers, now_ms)
    if verdict.state in _PHASES:
        return _PHASES[verdict.state]
    if budget is not None and (budget.audit or numbers is not None):
        return phase_of(budget, numbers.settled_nanousd if numbers else 0, now_ms)
    kept = old.get("phase")
    return kept if kept in (c.PHASE_EXHAUSTED, c.PHASE_DOWNGRADING) else c.PHASE_READY


def _ready(
    verdict: Verdict, confirmation: Confirmation | None, old: Mapping[str, Any]
) -> tuple[str, str, str, str]:
    generation = verdict.generation
    if verdict.state is DesiredState.READY:
        if confirmation is None:
            for x in old.get("conditions") or ():
                if (
                    x.get("type") == c.READY
                    and x.get("observedGeneration") == generation
                    and x.get("status") == "True"
                ):
                    return c.READY, "True", str(x["reason"]), str(x["message"])  # gateways keep what they had
            return (
                c.READY,
                "Unknown",
                "LedgerUnavailable",
                "Redis does not answer: nobody knows what gateways enforce",
            )
        if confirmation.elsewhere:
            return c.READY, "False", c.KEPT_ELSEWHERE, (
                f"not in force: the policy of this ledger is kept by {confirmation.elsewhere}; write the budget there"
            )  # fmt: skip
        if not confirmation.gateways:
            return c.READY, "Unknown", c.NO_GATEWAY, "no gateway has told in the last 15 s what it enforces"
        if confirmation.behind:
            return c.READY, "False", c.GATEWAYS_BEHIND, (
                f"{confirmation.behind} of {confirmation.gateways} gateway workers do not enforce generation "
                f"{generation} yet, among them {confirmation.who}"
            )  # fmt: skip
        return c.READY, "True", "Enforced", f"every gateway enforces generation {generation}"
    if verdict.state is DesiredState.CONFLICT:
        return c.READY, "False", "Conflict", verdict.message
    if verdict.state is DesiredState.NOT_OWNER:
        return c.READY, "False", c.NOT_OWNER, verdict.message
    return c.READY, "False", "Invalid", _invalid(verdict)


def _invalid(verdict: Verdict) -> str:
    kept = verdict.in_force
    tail = f"generation {kept.generation} stays in force" if kept else "nothing of it is in force"
    return f"{verdict.message}; {tail}"


def _unless_known(
    kind: str, found: tuple[bool, str] | None, yes: str, no: str, budget: TeamBudget | None
) -> tuple[str, str, str, str]:
    if budget is None:
        return kind, "False", "NotInForce", "the document is not in force"
    if found is None:
        return kind, "Unknown", "LedgerUnavailable", "the ledger does not answer"
    reason = "Audit" if budget.audit else yes if found[0] else no
    return kind, "True" if found[0] else "False", reason, found[1]


# Every message says something: some builds of the API server take an empty text for null.
def _condition(
    kind: str,
    status: str,
    reason: str,
    message: str,
    generation: int,
    old: Mapping[str, Any] | None,
    at: str,
) -> dict[str, Any]:
    same = old is not None and old.get("status") == status
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": old["lastTransitionTime"] if same and old is not None else at,
        "observedGeneration": generation,
    }


def _content(status: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in status.items() if k != "lastUpdated"}


def stamp(epoch_ms: int) -> str:
    """A moment as Kubernetes writes it, RFC 3339 in whole seconds."""
    return datetime.fromtimestamp(epoch_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def epoch_ms(text: str) -> int:
    """What `stamp` wrote; 0 for anything else."""
    try:
        return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        return 0
