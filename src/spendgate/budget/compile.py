"""From a valid document to the compiled budget that the decision reads."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from spendgate.budget.calendar import WEEKDAYS, Calendar
from spendgate.budget.checks import advice
from spendgate.budget.document import document_text
from spendgate.budget.limit_rules import LimitRule
from spendgate.budget.model import BudgetSpec, LLMBudget
from spendgate.budget.patterns import ModelPattern, most_specific_first, team_pattern
from spendgate.budget.policy import (
    DEFAULT_THRESHOLDS,
    AppRule,
    DowngradeRule,
    ModelRule,
    Raise,
    RepeatRule,
    Routing,
    TeamBudget,
    Threshold,
)
from spendgate.durations import parse_duration_ms
from spendgate.money import usd_to_nano


def compile_budget(document: LLMBudget) -> TeamBudget:
    """Compile a valid document."""
    spec = document.spec
    meta = document.metadata
    thresholds = tuple(
        sorted(
            (Threshold(t.percent, t.action, t.notify_channel) for t in spec.alert_thresholds),
            key=lambda t: t.percent,
        )
    )
    return TeamBudget(
        team=spec.team,
        monthly_nanousd=usd_to_nano(spec.monthly_budget_usd),
        name=f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name,
        digest=_digest(spec),
        thresholds=thresholds or DEFAULT_THRESHOLDS,
        model_rules=most_specific_first(
            ModelRule(ModelPattern.of(m.model_pattern), _nano(m.max_monthly_usd), frozenset(m.allowed_apps))
            for m in spec.model_limits
        ),
        apps=MappingProxyType(
            {a.name: AppRule(a.name, a.essential, _nano(a.max_monthly_usd)) for a in spec.apps}
        ),
        default_model=spec.default_model or "",
        routing=_routing(spec),
        downgrades=most_specific_first(
            DowngradeRule(ModelPattern.of(d.from_), d.to) for d in spec.downgrades
        ),
        overshoot_percent=spec.overshoot_percent,
        emergency_buffer_percent=spec.emergency_buffer_percent,
        daily_nanousd=_nano(spec.daily_budget_usd),
        hourly_nanousd=_nano(spec.max_usd_per_hour),
        request_nanousd=_nano(spec.max_usd_per_request),
        run_nanousd=_nano(spec.max_usd_per_run),
        output_token_cap=spec.output_token_cap,
        clamp_output=spec.clamp_output,
        cut_streams=spec.cut_streams,
        holds_learned=spec.holds == "learned",
        hold_percentile=spec.hold_percentile,
        hold_min_samples=spec.hold_min_samples,
        repeats=_repeats(spec),
        audit=spec.mode == "audit",
        failure_policy=spec.failure_policy or "",
        fail_open_nanousd=_nano(spec.fail_open_limit_usd),
        unpriced_models=spec.unpriced_models,
        unknown_apis=spec.unknown_apis or "",
        aborted_answers=spec.aborted_answers,
        limits=tuple(LimitRule.of(n, limit) for n, limit in enumerate(spec.limits)),
        calendar=Calendar(
            spec.time_zone or "UTC", WEEKDAYS.index(spec.week_starts_on or "monday"), spec.year_starts_in or 1
        ),
        rollover_percent=spec.rollover.percent if spec.rollover else None,
        members=tuple(team_pattern(m) for m in spec.members or ()),
        created=meta.creation_timestamp,
        raises=tuple(Raise(usd_to_nano(i.usd), int(i.until.timestamp() * 1000)) for i in spec.increase),
        advice=tuple(advice(spec)),
        document=document_text(document),
    )


def _nano(usd: Decimal | None) -> int | None:
    return None if usd is None else usd_to_nano(usd)


def _repeats(spec: BudgetSpec) -> RepeatRule | None:
    r = spec.repeats
    return None if r is None else RepeatRule(r.max, parse_duration_ms(r.window))


def _routing(spec: BudgetSpec) -> Routing | None:
    r = spec.cost_routing
    if r is None or not r.enabled or not r.cheap_model:
        return None
    return Routing(r.cheap_model, r.expensive_model or "", r.complexity_threshold)


def _digest(spec: BudgetSpec) -> str:
    """Hash the content: 8000, 8000.0 and 8e3 are one amount; a default written out is no change."""
    content = spec.model_dump(by_alias=True, exclude_defaults=True)
    return hashlib.sha256(
        json.dumps(content, sort_keys=True, default=_canonical, ensure_ascii=False).encode()
    ).hexdigest()


def _canonical(value: Any) -> str:
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise TypeError(f"no canonical form: {value!r}")
