"""The compiled policy: what budgets say, as immutable data ready for the decision. Amounts in nano-USD."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from spendgate.budget.bounds import UNLIMITED
from spendgate.budget.checks import advice
from spendgate.budget.document import document_text
from spendgate.budget.model import Action, BudgetSpec, LLMBudget
from spendgate.budget.patterns import ModelPattern, best_match, most_specific_first
from spendgate.durations import parse_duration_ms
from spendgate.money import percent_of, usd_to_nano
from spendgate.pricing.aliases import known_as


@dataclass(frozen=True, slots=True)
class Threshold:
    """At `percent` of the month's effective limit, `action`; `channel` is told."""

    percent: int
    action: Action
    channel: str = ""


NamesFn = Callable[[str], tuple[str, ...]]
"""The names that a model is known by."""
ANY_MODEL = "*"
"""A model that the provider chooses (`dialects.fallbacks`)."""
DEFAULT_THRESHOLDS = (Threshold(50, "alert"), Threshold(80, "alert_and_downgrade"), Threshold(100, "reject"))
"""What a budget without thresholds means (rule 7)."""
FAIL_OPEN_DEFAULT_PERCENT = 1


@dataclass(frozen=True, slots=True)
class ModelRule:
    """A limit for all models of a pattern; `limit_nanousd` None: only the apps are restricted."""

    pattern: ModelPattern
    limit_nanousd: int | None
    allowed_apps: frozenset[str]
    """Empty: every app."""


@dataclass(frozen=True, slots=True)
class AppRule:
    """What an app may."""

    name: str
    essential: bool
    limit_nanousd: int | None


@dataclass(frozen=True, slots=True)
class Routing:
    """Enabled cost routing. `expensive_model` "": as asked."""

    cheap_model: str
    expensive_model: str
    complexity_threshold: int


@dataclass(frozen=True, slots=True)
class RepeatRule:
    """So many same requests of a run pass within a window; the next is a loop."""

    max: int
    window_ms: int


@dataclass(frozen=True, slots=True)
class DowngradeRule:
    """Requests for the pattern's models go to `to` under pressure."""

    pattern: ModelPattern
    to: str


@dataclass(frozen=True, slots=True)
class Raise:
    """A temporary increase, in force while now < `until_ms`."""

    amount_nanousd: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class TeamBudget:
    """One team's budget. None where a limit is not set."""

    team: str
    monthly_nanousd: int
    name: str = ""
    """`namespace/name` of the document, for messages."""
    digest: str = ""
    """SHA-256 of what the budget says, whatever its form."""
    thresholds: tuple[Threshold, ...] = DEFAULT_THRESHOLDS
    """In order of percent."""
    model_rules: tuple[ModelRule, ...] = ()
    """Most specific first."""
    apps: Mapping[str, AppRule] = field(default_factory=lambda: MappingProxyType({}))
    default_model: str = ""
    routing: Routing | None = None
    downgrades: tuple[DowngradeRule, ...] = ()
    """Most specific first."""
    overshoot_percent: Decimal | None = None
    emergency_buffer_percent: Decimal = Decimal(10)
    daily_nanousd: int | None = None
    hourly_nanousd: int | None = None
    request_nanousd: int | None = None
    run_nanousd: int | None = None
    output_token_cap: int | None = None
    clamp_output: bool = False
    cut_streams: bool = False
    holds_learned: bool = False
    """Streams hold what the ledger learned, not their worst case."""
    hold_percentile: int = 99
    hold_min_samples: int = 50
    repeats: RepeatRule | None = None
    audit: bool = False
    failure_policy: str = ""
    """`open`, `closed`, or "": up to the fail-open limit."""
    fail_open_nanousd: int | None = None
    unpriced_models: str = "estimate"
    unknown_apis: str = ""
    """`pass`, `reject`, or "": as the gateway's settings say."""
    aborted_answers: str | None = None
    """None: as the gateway is set."""
    raises: tuple[Raise, ...] = ()
    lapsed: bool = False
    """No budget at all: what the team had may not bind any more, and until it has another it is refused."""
    advice: tuple[str, ...] = ()
    """What is allowed but probably not meant, for whoever checks the budget."""
    document: str = field(default="", compare=False, repr=False)
    """What it was compiled from (`document.document_text`)."""

    def limit_nanousd(self, now_ms: int) -> int:
        """The month's effective budget: the budget and every increase in force."""
        if not self.raises:
            return self.monthly_nanousd
        return self.monthly_nanousd + sum(r.amount_nanousd for r in self.raises if now_ms < r.until_ms)

    @property
    def reject_threshold(self) -> Threshold | None:
        """The lowest threshold that rejects; None: the month's budget is soft."""
        return next((t for t in self.thresholds if t.action == "reject"), None)

    @property
    def downgrade_threshold(self) -> Threshold | None:
        """The lowest threshold that downgrades."""
        return next((t for t in self.thresholds if t.action == "alert_and_downgrade"), None)

    @property
    def contact(self) -> str:
        """Whom to ask for more: the channel of the reject threshold, else of the highest that has one."""
        reject = self.reject_threshold
        if reject and reject.channel:
            return reject.channel
        return next((t.channel for t in reversed(self.thresholds) if t.channel), "")

    def model_rule(self, model: str, names: NamesFn = known_as) -> ModelRule | None:
        """The most specific limit that covers a model by any of its `names` (rule 6)."""
        return best_match(self.model_rules, model, names(model)) if self.model_rules else None

    def rules_for(self, models: Iterable[str], names: NamesFn = known_as) -> tuple[ModelRule, ...]:
        """The limits of all models that may answer, each once; of one that the provider chooses, every limit."""
        if not self.model_rules:
            return ()
        found: dict[str, ModelRule] = {}
        for model in models:
            rule = self.model_rule(model, names)
            for each in self.model_rules if model == ANY_MODEL else (rule,):
                if each is not None:
                    found.setdefault(each.pattern.text, each)
        return tuple(found.values())

    def is_essential(self, app: str) -> bool:
        """May the app use the emergency buffer?"""
        rule = self.apps.get(app)
        return rule is not None and rule.essential

    def month_bound_nanousd(self, now_ms: int, app: str = "") -> int:
        """The bound of rule 7, without overshoot: the lowest reject threshold of the effective limit, higher
        for an essential app. UNLIMITED for a soft budget."""
        reject = self.reject_threshold
        if reject is None:
            return UNLIMITED
        bound = percent_of(self.limit_nanousd(now_ms), reject.percent)
        if self.is_essential(app):
            bound = percent_of(bound, 100 + self.emergency_buffer_percent)
        return bound

    def fail_open_allowance(self, now_ms: int) -> int:
        """What one replica may admit while the ledger does not answer (rule 10); UNLIMITED: everything.

        A budget that never rejects (soft, or in audit) does not start to when the ledger is away.
        """
        if self.failure_policy == "open" or self.audit or self.reject_threshold is None:
            return UNLIMITED
        if self.failure_policy == "closed":
            return 0
        if self.fail_open_nanousd is not None:
            return self.fail_open_nanousd
        return percent_of(self.limit_nanousd(now_ms), FAIL_OPEN_DEFAULT_PERCENT)


DOCTOR = "spendgate-doctor"
"""Team of `spendgate doctor`: every request of it is refused, which proves that budgets hold."""
_NOTHING = TeamBudget(DOCTOR, 0, unknown_apis="reject")


@dataclass(frozen=True, slots=True)
class Policy:
    """The budgets in force together. `version` changes iff what they say changes."""

    budgets: Mapping[str, TeamBudget] = field(default_factory=lambda: MappingProxyType({}))
    version: str = hashlib.sha256(b"").hexdigest()
    lapsed: frozenset[str] = frozenset()
    """Teams without a budget that are refused, whatever the gateway does with others that have none."""

    @classmethod
    def of(cls, budgets: Iterable[TeamBudget], lapsed: Iterable[str] = ()) -> Policy:
        """Put budgets together. Raises ValueError where two are for one team: settle conflicts before."""
        by_team: dict[str, TeamBudget] = {}
        for budget in budgets:
            if budget.team in by_team:
                raise ValueError(f"two budgets for team {budget.team}")
            by_team[budget.team] = budget
        ordered = {t: by_team[t] for t in sorted(by_team)}
        refused = frozenset(lapsed) - ordered.keys()
        content = "".join(f"{json.dumps(t)} {b.digest}\n" for t, b in ordered.items())
        content += "".join(f"{json.dumps(t)} lapsed\n" for t in sorted(refused))
        version = hashlib.sha256(content.encode()).hexdigest()
        return cls(MappingProxyType(ordered), version, refused)

    def budget(self, team: str) -> TeamBudget | None:
        """The team's budget, None where it has none. The doctor's team has nothing, whatever the policy."""
        if team == DOCTOR:
            return _NOTHING
        if team in self.lapsed:
            return TeamBudget(team, 0, failure_policy="closed", unknown_apis="reject", lapsed=True)
        return self.budgets.get(team)

    @property
    def teams(self) -> tuple[str, ...]:
        """The teams with a budget, sorted."""
        return tuple(self.budgets)


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
