"""What needs more than one field of a budget to judge: contradictions, and advice that is no fault."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from spendgate.budget.limit_checks import limit_advice, limit_troubles
from spendgate.budget.model import BudgetSpec
from spendgate.values import dataclass

Loc = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong at `loc` within the spec."""

    loc: Loc
    problem: str
    remedy: str


def contradictions(spec: BudgetSpec) -> list[Finding]:
    """Say where a spec contradicts itself."""
    found: list[Finding] = []
    routing = spec.cost_routing
    if routing and routing.enabled and not routing.cheap_model:
        found.append(
            Finding(
                ("costRouting", "cheapModel"),
                "is missing, but costRouting is enabled",
                "name the model for simple requests, or set enabled: false",
            )
        )
    found += _repeated(
        "modelLimits", "modelPattern", [m.model_pattern for m in spec.model_limits], "join the two limits"
    )
    found += _repeated("apps", "name", [a.name for a in spec.apps], "join the two entries")
    found += _repeated("downgrades", "from", [d.from_ for d in spec.downgrades], "keep one target")
    found += _repeated(
        "alertThresholds",
        "",
        [(t.percent, t.action, t.notify_channel) for t in spec.alert_thresholds],
        "remove one",
    )
    found += [Finding(*trouble) for trouble in limit_troubles(spec)]
    return found


def advice(spec: BudgetSpec) -> list[str]:
    """Say what is allowed but probably not meant."""
    out: list[str] = []
    routing = spec.cost_routing
    can_downgrade = spec.default_model or spec.downgrades or (routing and routing.enabled)
    if any(t.action == "alert_and_downgrade" for t in spec.alert_thresholds) and not can_downgrade:
        out.append("alert_and_downgrade only alerts: no defaultModel, downgrades or costRouting is given")
    if spec.alert_thresholds and not any(t.action == "reject" for t in spec.alert_thresholds):
        out.append("no threshold rejects: the monthly budget is soft")
    if spec.holds == "learned" and spec.clamp_output:
        out.append("holds are learned: what clampOutput lets pass last may cost more than is left")
    if spec.holds == "worst" and {"hold_percentile", "hold_min_samples"} & spec.model_fields_set:
        out.append("holdPercentile and holdMinSamples mean something with holds: learned only")
    if spec.monthly_budget_usd == 0:
        out.append("monthlyBudgetUSD is 0: every request is refused")
    return [*out, *limit_advice(spec)]


def _repeated(group: str, key: str, values: Sequence[Hashable], remedy: str) -> Iterator[Finding]:
    first: dict[Hashable, int] = {}
    for i, value in enumerate(values):
        at = first.setdefault(value, i)
        if at != i:
            loc: Loc = (group, i, key) if key else (group, i)
            yield Finding(loc, f"repeats {group}[{at}]", remedy)
