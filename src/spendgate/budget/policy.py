"""The compiled policy: what budgets say, as immutable data ready for the decision. Amounts in nano-USD."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from decimal import Decimal
from types import MappingProxyType
from typing import TypeVar

from spendgate.budget.ask import ANY_MODEL
from spendgate.budget.bounds import CARRY_PARTS, UNLIMITED, Carry
from spendgate.budget.calendar import PLAIN, Calendar
from spendgate.budget.limit_rules import LimitRule
from spendgate.budget.model import Action
from spendgate.budget.patterns import ModelPattern, best_match, is_team_glob, team_pattern
from spendgate.money import percent_of
from spendgate.pricing.aliases import known_as
from spendgate.values import dataclass


@dataclass(frozen=True, slots=True)
class Threshold:
    """At `percent` of the month's effective limit, `action`; `channel` is told."""

    percent: int
    action: Action
    channel: str = ""


NamesFn = Callable[[str], tuple[str, ...]]
"""The names that a model is known by."""
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
    limits: tuple[LimitRule, ...] = ()
    calendar: Calendar = PLAIN
    """Where and how windows of `limits` begin."""
    rollover_percent: Decimal | None = None
    members: tuple[ModelPattern, ...] = ()
    """The teams of a group, `team` then is its name; empty: the budget is a team's, or a template."""
    created: str = ""
    """When its document was made, "" where that is not known; of two alike templates the older counts."""
    lapsed: bool = False
    """No budget at all: what the team had may not bind any more, and until it has another it is refused."""
    advice: tuple[str, ...] = ()
    """What is allowed but probably not meant, for whoever checks the budget."""
    document: str = field(default="", compare=False, repr=False)
    """What it was compiled from (`document.document_text`)."""
    reject_threshold: Threshold | None = field(init=False, compare=False, repr=False)
    """The lowest threshold that rejects; None: the month's budget is soft."""
    downgrade_threshold: Threshold | None = field(init=False, compare=False, repr=False)
    """The lowest threshold that downgrades."""
    knows_apps: bool = field(init=False, compare=False, repr=False)
    """Does it say more of some apps than of others?"""
    knows_models: bool = field(init=False, compare=False, repr=False)
    """Does it say more of some models than of others?"""
    knows_callers: bool = field(init=False, compare=False, repr=False)
    """Does what bounds a request depend on more of it than its app and its model: who asks, in which run, of whom?"""

    def __post_init__(self) -> None:
        """Find what every decision asks for."""
        rules, limits = self.model_rules, self.limits
        apps = bool(self.apps or any(r.allowed_apps for r in rules)) or any(x.per == "app" for x in limits)
        callers = self.run_nanousd is not None or any(x.per not in ("team", "app", "model") for x in limits)
        object.__setattr__(self, "knows_apps", apps)
        object.__setattr__(self, "knows_models", bool(rules) or any(x.of_models for x in limits))
        object.__setattr__(self, "knows_callers", callers)
        for name, action in (("reject_threshold", "reject"), ("downgrade_threshold", "alert_and_downgrade")):
            found = next((t for t in self.thresholds if t.action == action), None)
            object.__setattr__(self, name, found)

    def limit_nanousd(self, now_ms: int) -> int:
        """The month's effective budget: the budget and every increase in force."""
        if not self.raises:
            return self.monthly_nanousd
        return self.monthly_nanousd + sum(r.amount_nanousd for r in self.raises if now_ms < r.until_ms)

    @property
    def is_plain(self) -> bool:
        """Does it bind, with worst cases, and send the model that was asked for, or none?"""
        no_other = self.routing is None and not (self.downgrades or self.default_model)
        return no_other and not (self.audit or self.lapsed or self.holds_learned)

    @property
    def is_group(self) -> bool:
        """Does it bound several teams together?"""
        return bool(self.members)

    @property
    def is_template(self) -> bool:
        """Is it the budget of each team that its name, a glob, matches?"""
        return not self.members and is_team_glob(self.team)

    def has_member(self, team: str) -> bool:
        """Is a team in this group?"""
        return any(p.matches(team) for p in self.members)

    def carry(self, app: str = "", overshoot_percent: Decimal = Decimal(0)) -> Carry | None:
        """By what last month's rest raises the month's bound; None where nothing is carried over."""
        reject = self.reject_threshold
        if self.rollover_percent is None or reject is None:
            return None
        most = percent_of(self.monthly_nanousd, self.rollover_percent)
        part = Decimal(CARRY_PARTS * reject.percent) / 100
        if self.is_essential(app):
            part = part * (100 + self.emergency_buffer_percent) / 100
        return Carry(self.monthly_nanousd, most, int(part), int(part * (100 + overshoot_percent) / 100))

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


UNATTRIBUTED = "unattributed"
"""The team of whoever names none."""
DOCTOR = "spendgate-doctor"
"""Team of `spendgate doctor`: every request of it is refused, which proves that budgets hold."""
_NOTHING = TeamBudget(DOCTOR, 0, unknown_apis="reject")


@dataclass(frozen=True, slots=True)
class Policy:
    """The budgets in force together. `version` changes iff what they say changes."""

    budgets: Mapping[str, TeamBudget] = field(default_factory=lambda: MappingProxyType({}))
    """Of teams that have one of their own."""
    version: str = hashlib.sha256(b"").hexdigest()
    lapsed: frozenset[str] = frozenset()
    """Teams without a budget that are refused, whatever the gateway does with others that have none."""
    templates: tuple[TeamBudget, ...] = ()
    """Budgets of teams that have none of their own: the most specific first, of those alike the older."""
    groups: Mapping[str, TeamBudget] = field(default_factory=lambda: MappingProxyType({}))
    """Budgets of several teams together, by the group's name."""
    _globs: tuple[tuple[ModelPattern, TeamBudget], ...] = field(default=(), compare=False, repr=False)
    """The templates in their order, each with its compiled glob."""
    _made: dict[str, TeamBudget | None] = field(default_factory=dict, compare=False, repr=False)
    """What teams without a budget of their own have: a template's, a lapsed one, or none."""
    _groups_of: dict[str, tuple[TeamBudget, ...]] = field(default_factory=dict, compare=False, repr=False)

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
        templates = sorted((b for b in ordered.values() if b.is_template), key=lambda b: b.created)
        content += "".join(f"{json.dumps(b.team)} since {b.created}\n" for b in templates if b.created)
        content += "".join(f"{json.dumps(t)} lapsed\n" for t in sorted(refused))
        version = hashlib.sha256(content.encode()).hexdigest()
        globs = sorted(
            ((team_pattern(b.team), b) for b in templates), key=lambda g: g[0].specificity, reverse=True
        )
        return cls(
            MappingProxyType({t: b for t, b in ordered.items() if not (b.is_group or b.is_template)}),
            version,
            refused,
            tuple(b for _, b in globs),
            MappingProxyType({t: b for t, b in ordered.items() if b.is_group}),
            tuple(globs),
        )

    def budget(self, team: str) -> TeamBudget | None:
        """The team's budget: its own; none, and refused, where that lapsed; else a template's; None where it has
        none. The doctor's team has nothing, whatever the policy."""
        if team == DOCTOR:
            return _NOTHING
        own = self.budgets.get(team)
        if own is not None:
            return own
        return self._without_own(team) if self._globs or self.lapsed else None

    def template_of(self, team: str) -> TeamBudget | None:
        """The template that a team without a budget of its own falls to: the most specific glob, then the older. No
        glob is meant for whoever names no team, nor for a team whose budget lapsed: that is refused."""
        if team in (UNATTRIBUTED, DOCTOR) or team in self.budgets or team in self.lapsed:
            return None
        return next((t for pattern, t in self._globs if pattern.matches(team)), None)

    def _without_own(self, team: str) -> TeamBudget | None:
        try:
            return self._made[team]
        except KeyError:
            template = self.template_of(team)
        made = replace(template, team=team) if template is not None else None
        if team in self.lapsed:
            made = TeamBudget(team, 0, failure_policy="closed", unknown_apis="reject", lapsed=True)
        return _keep(self._made, team, made)

    def groups_of(self, team: str) -> tuple[TeamBudget, ...]:
        """The groups that a team is in, in order of their names."""
        if not self.groups or team == DOCTOR:
            return ()
        found = self._groups_of.get(team)
        if found is None:
            found = tuple(g for g in self.groups.values() if g.has_member(team))
            _keep(self._groups_of, team, found)
        return found

    @property
    def teams(self) -> tuple[str, ...]:
        """The teams with a budget of their own, sorted."""
        return tuple(self.budgets)

    @property
    def every(self) -> tuple[TeamBudget, ...]:
        """All budgets: of teams, templates and groups, in order of their names."""
        return tuple(
            sorted((*self.budgets.values(), *self.templates, *self.groups.values()), key=lambda b: b.team)
        )


TEAMS_KEPT = 10_000
"""Teams without a document of their own whose budget, or that they have none, is remembered, and teams whose groups
are: names are made up by clients, too."""
_K = TypeVar("_K")


def _keep(kept: dict[str, _K], team: str, found: _K) -> _K:
    if len(kept) >= TEAMS_KEPT:
        kept.clear()
    kept[team] = found
    return found
