"""Compiled `limits`: each bounds every value of a dimension (a person, a run, a provider, a tag, …) by itself. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from spendgate.budget.ask import ANY_MODEL, Ask
from spendgate.budget.bounds import Bound, Subject, Unit
from spendgate.budget.calendar import Calendar, periods
from spendgate.budget.model import Limit
from spendgate.budget.patterns import ModelPattern, is_glob, is_team_glob, most_specific_first
from spendgate.money import percent_of, usd_to_nano
from spendgate.pricing.aliases import bare
from spendgate.values import dataclass

REASON = "limit_exceeded"
OPEN_ENDED = ("app", "user", "run", "model", "provider")
"""Dimensions whose values are not known beforehand, and mostly made up by clients; tags are, too."""


@dataclass(frozen=True, slots=True)
class OverrideRule:
    """Values that match have another amount."""

    pattern: ModelPattern
    most: int


@dataclass(frozen=True, slots=True)
class LimitThreshold:
    """At `percent` of a value's most, `channel` is told."""

    percent: int
    channel: str = ""


@dataclass(frozen=True, slots=True)
class LimitRule:
    """`most` and those of the overrides are nano-USD, or counts of `unit`. `scope` is what the counters of all its
    values begin with: their amounts may change, and what was counted stays."""

    number: int
    per: str
    unit: Unit
    window: str
    most: int
    scope: str
    match: ModelPattern | None = None
    overrides: tuple[OverrideRule, ...] = ()
    """Most specific first."""
    thresholds: tuple[LimitThreshold, ...] = ()

    @classmethod
    def of(cls, number: int, limit: Limit) -> LimitRule:
        """Compile one limit of a document."""
        match = ModelPattern.of(limit.match) if limit.match else None
        return cls(
            number,
            limit.per,
            limit.unit,
            limit.window,
            amount(limit.unit, limit.max),
            f"limit:{limit.unit}:{limit.per}:{limit.window}:{limit.match or ''}:",
            match,
            most_specific_first(
                OverrideRule(ModelPattern.of(o.match), amount(limit.unit, o.max)) for o in limit.overrides
            ),
            tuple(
                sorted(
                    (LimitThreshold(t.percent, t.notify_channel) for t in limit.thresholds),
                    key=lambda t: t.percent,
                )
            ),
        )

    @property
    def of_models(self) -> bool:
        """Does it depend on the model which of its values a request is of?"""
        return self.per in ("model", "provider") or (self.per == "team" and self.match is not None)

    @property
    def is_open_ended(self) -> bool:
        """Can clients make up new values?"""
        return self.per in OPEN_ENDED or self.per.startswith("tag:")

    @property
    def ledger_window(self) -> str:
        """`total` of a run is kept as runs are."""
        return "run" if self.per == "run" and self.window == "total" else self.window

    def values(self, ask: Ask, model: str) -> tuple[str, ...]:
        """The values that a request for a model counts in; a fall-back that may answer counts, too."""
        if not self.of_models:
            value = self._own(ask)
            return () if value is None or not self._matches(value) else (value,)
        models = ask.may_answer(model)
        if self.per == "team":
            return (ask.team,) if any(self._covers(ask, m) for m in models) else ()
        if self.per == "provider":
            named = dict.fromkeys(ask.provider_of(m) for m in models)
            return tuple(p for p in named if self._matches(p))
        return tuple(dict.fromkeys(bare(m) for m in models if self._covers(ask, m)))

    def most_for(self, value: str, ask: Ask) -> int:
        """The amount of one value."""
        names = ask.known_as(value) if self.per == "model" and self.overrides else ()
        for o in self.overrides:
            if o.pattern.matches(value) or (names and o.pattern.covers(names)):
                return o.most
        return self.most

    def scope_of(self, value: str) -> str:
        """The counter of a value."""
        return self.scope + value

    def named(self, group: bool, team: str, members: Sequence[str] = ()) -> tuple[str, ...]:
        """The values that can be told without a request: those that the document names."""
        if self.per == "team":
            return tuple(m for m in members if not is_team_glob(m)) if group else (team,)
        texts = [o.pattern.text for o in self.overrides] + ([self.match.text] if self.match else [])
        return tuple(dict.fromkeys(t for t in texts if not is_glob(t)))

    def _own(self, ask: Ask) -> str | None:
        """The value that does not depend on the model; None where the request is of none."""
        match self.per:
            case "team":
                return ask.team
            case "app":
                return ask.app
            case "user":
                return ask.user
            case "run":
                return ask.run or None
            case _:
                return ask.tags.get(self.per.removeprefix("tag:"), "")

    def _matches(self, value: str) -> bool:
        return self.match is None or self.match.matches(value)

    def _covers(self, ask: Ask, model: str) -> bool:
        return self.match is None or model == ANY_MODEL or self.match.covers(ask.known_as(model))


def amount(unit: str, most: Decimal) -> int:
    """An amount of a document in the ledger's integers."""
    return usd_to_nano(most) if unit == "usd" else int(most)


def limit_bounds(
    rules: Sequence[LimitRule],
    calendar: Calendar,
    ask: Ask,
    model: str,
    now_ms: int,
    overshoot: Decimal,
    group: str,
) -> Iterator[Bound]:
    """The bounds of the limits that a request for a model meets. The overshoot is of money alone."""
    for rule in rules:
        for value in rule.values(ask, model):
            most = rule.most_for(value, ask)
            yield Bound(
                rule.scope_of(value),
                rule.ledger_window,
                most,
                percent_of(most, 100 + overshoot) if rule.unit == "usd" else most,
                REASON,
                unit=rule.unit,
                group=group,
                periods=periods(rule.ledger_window, calendar, now_ms),
                values_of=rule.scope if rule.is_open_ended else "",
                subject=Subject(
                    rule.per, value, rule.window, rule.match.text if rule.match else "", rule.number
                ),
            )
